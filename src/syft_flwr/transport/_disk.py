"""The functions of :mod:`syft_flwr.files`, for transports: a failure of this machine's disk is a TransportError.

A transport promises that everything it raises is a TransportError. So no module of a transport imports ``files``; the
import contract checks that.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from syft_flwr import files
from syft_flwr.errors import StorageError, TransportError
from syft_flwr.files import write_in_folder

__all__ = [
    "keep_file",
    "open_folder",
    "open_in_folder",
    "read_bounded",
    "translate",
    "write_in_folder",
    "write_private",
]


def translate(error: OSError, what: str) -> TransportError:
    """Turn the system's error into ours, without the path of this machine."""
    return _of_the_transport(files.translate(error, what))


def _of_the_transport(error: StorageError) -> TransportError:
    # A file that is missing or too large, and a full disk, have classes that are both.
    return error if isinstance(error, TransportError) else TransportError(str(error), hint=error.hint)


@contextmanager
def _raising_transport_errors() -> Iterator[None]:
    try:
        yield
    except TransportError:
        raise
    except StorageError as error:
        raise _of_the_transport(error) from error


@contextmanager
def open_folder(root: Path, parts: Iterable[str], *, create_mode: int | None = None) -> Iterator[int]:
    """Open a folder as :func:`syft_flwr.files.open_folder` does."""
    with _raising_transport_errors(), files.open_folder(root, parts, create_mode=create_mode) as folder:
        yield folder


keep_file = _raising_transport_errors()(files.keep_file)
open_in_folder = _raising_transport_errors()(files.open_in_folder)
read_bounded = _raising_transport_errors()(files.read_bounded)
write_private = _raising_transport_errors()(files.write_private)
