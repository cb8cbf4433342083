"""The functions of :mod:`syft_flwr.files` for transports: they raise a TransportError if this machine's disk fails.

A transport must raise only TransportErrors. So the modules of a transport import this module in place of ``files``; an
import contract checks that.
"""

import os
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
    "read_behind_links",
    "read_bounded",
    "translate",
    "with_path",
    "write_in_folder",
    "write_private",
]


def translate(error: OSError, what: str, *, hint: str = "") -> TransportError:
    """Return the TransportError for an error of the operating system, without a path of this machine.

    ``what`` names the file or folder in the message. The hint may name a path of this machine, because it does not travel.
    """
    return _of_the_transport(files.translate(error, what, hint=hint))


def _of_the_transport(error: StorageError) -> TransportError:
    # The errors for a missing file, a too large file and a full disk are of both families already.
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
    """Open a folder as :func:`syft_flwr.files.open_folder` does, and raise only TransportErrors."""
    known = list(parts)
    try:
        with files.open_folder(root, known, create_mode=create_mode) as folder:
            yield folder
    except TransportError:
        raise
    except StorageError as error:
        raise TransportError(str(error), hint=with_path(error.hint, root.joinpath(*known))) from error


def with_path(hint: str, path: Path) -> str:
    """Return the hint of an error, extended by the full path for the person at this machine."""
    return f"{hint} The full path is {path}"


keep_file = _raising_transport_errors()(files.keep_file)
open_in_folder = _raising_transport_errors()(files.open_in_folder)
read_bounded = _raising_transport_errors()(files.read_bounded)
write_private = _raising_transport_errors()(files.write_private)


def read_behind_links(path: Path, max_size: int) -> bytes:
    """Read a file that a person named, which may be a link. Links in a circle are an error like that of a missing right."""
    # Path.resolve raises RuntimeError for a circle.
    return read_bounded(Path(os.path.realpath(path)), max_size)
