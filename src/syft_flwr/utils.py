"""Names that projects of syft-flwr 0.5 import: the folder of the data, and whether it exists."""

import os
from pathlib import Path

from syft_flwr.errors import NotFoundError

__all__ = ["get_syftbox_dataset_path", "run_syft_flwr"]

_DEFAULT = ".data/"


class DatasetNotFoundError(NotFoundError, FileNotFoundError):
    """Raised if the folder of the data does not exist. Projects of syft-flwr 0.5 catch FileNotFoundError."""


def get_syftbox_dataset_path() -> Path:
    """Return the folder in ``DATA_DIR``, or ``.data`` in the current folder if it is not set.

    Raises:
        DatasetNotFoundError: the folder does not exist.
    """
    path = Path(os.environ.get("DATA_DIR", _DEFAULT))
    if not path.exists():
        raise DatasetNotFoundError(
            f"{path}: the folder of the private data does not exist",
            hint="Set DATA_DIR to the folder with the data of this participant.",
        )
    return path


def run_syft_flwr() -> bool:
    """Return whether the data of this participant exist, so that an app need not load another data set.

    It is also false for a data owner that has not set ``DATA_DIR``, and for an app under ``flwr run``.
    """
    try:
        get_syftbox_dataset_path()
    except FileNotFoundError:
        return False
    return True
