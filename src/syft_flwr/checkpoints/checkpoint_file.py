"""Reads and writes one checkpoint as a safetensors file, atomically.

- The file is written in the folder ``.syft_flwr_saving/`` next to its path, synced to the disk, then renamed. The next save deletes
  the files that a killed process left there.
- The metadata of the file contain the round, the metrics, the order of the names, and a SHA-256 of them and the arrays.
- Reading checks every byte. A file that differs from the written one raises a :class:`StoreError`.

Format: https://huggingface.co/docs/safetensors (8 bytes length, JSON header, arrays in little-endian C order).
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from syft_flwr.checkpoints.arrays import DTYPES, Arrays, to_record
from syft_flwr.errors import ConfigError, StoreError, SyftFlwrError
from syft_flwr.files import translate

if TYPE_CHECKING:
    from flwr.app import ArrayRecord

#: Types of a metric: the values of Flower's ``MetricRecord``, and texts and booleans of the older API.
MetricValue = bool | int | float | str | list[int] | list[float]

#: The oldest supported release: earlier ones copy each array on write, and can read only with a memory map.
_SAFETENSORS = (0, 8)
_STAGING = ".syft_flwr_saving"
_VERSION = "1"
_SEALED = ("syft_flwr", "round", "metrics", "names")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The global arrays after a round.

    Attributes:
        server_round: the number of the round, counted over all restarts; the first is 1.
        metrics: the metrics of the round that were known when the file was written.
        arrays: the arrays by name, in the order of the model, in the byte order of this machine.
    """

    server_round: int
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    def to_array_record(self) -> "ArrayRecord":
        """Return the arrays as a record of Flower's Message API, for example for ``to_torch_state_dict()``."""
        return to_record(self.arrays)


class _Metadata(BaseModel):
    """The ``__metadata__`` of the file, where every value is a string."""

    model_config = ConfigDict(frozen=True)

    round: Annotated[int, Field(ge=0)]
    metrics: Json[dict[str, MetricValue]]
    names: Json[list[str]]
    sha256: str


def require_safetensors() -> None:
    """Raise :class:`ConfigError` if the package safetensors is missing or too old.

    A call before the first round avoids that the work of a round is lost.
    """
    try:
        from safetensors import __version__ as found
    except ImportError:
        found = ""
    if not found or tuple(int(part) for part in found.split(".")[:2]) < _SAFETENSORS:
        problem = f"{found} is installed" if found else "it is not installed"
        floor = ".".join(map(str, _SAFETENSORS))
        raise ConfigError(
            f"checkpoints need the package safetensors, version {floor} or later; {problem}",
            hint=f"Run: pip install 'safetensors>={floor}'",
        )


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path`` (mode 0600) without a copy of its arrays.

    Args:
        path: the file, which is replaced if it exists. Its folder must exist.
        checkpoint: its arrays must have the form that :func:`~syft_flwr.checkpoints.arrays.named` returns.

    Raises:
        StorageFullError, StorageError, StoreError: the file cannot be written; an old file at ``path`` is unchanged.
        ConfigError: the metrics or names cannot be written.
    """
    metadata = {
        "syft_flwr": _VERSION,
        "round": str(checkpoint.server_round),
        "metrics": json.dumps(checkpoint.metrics),
        "names": json.dumps(list(checkpoint.arrays)),
    }
    digest = _start_digest(metadata)
    for array in checkpoint.arrays.values():
        _add_to_digest(digest, array)
    try:
        # Refuses now a text that read() could not decode later, such as half of a surrogate pair.
        _Metadata.model_validate(metadata | {"sha256": digest.hexdigest()})
    except ValidationError as error:
        raise ConfigError(
            f"round {checkpoint.server_round} cannot be saved: {_first_line(error)}",
            hint="Use plain numbers and valid texts as metrics and names.",
        ) from error
    write_arrays(path, checkpoint.arrays, metadata | {"sha256": digest.hexdigest()})


def write_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file (mode 0600): in full, then renamed to ``path``.

    Raises:
        StorageFullError, StorageError, StoreError: the file cannot be written; an old file at ``path`` is unchanged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        with _staging(path.parent) as staging:
            temporary = staging / path.name
            save_file(dict(arrays), temporary, dict(metadata) if metadata else None)
            _put(temporary, path)
    except SafetensorError as error:
        raise _translate(error, path) from error
    except OSError as error:
        raise translate(error, str(path)) from error


def link(source: Path, path: Path) -> bool:
    """Replace ``path`` atomically with a hard link to the file ``source``.

    Returns:
        True; or False if the link cannot be made, for example on a file system without hard links.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        with _staging(path.parent) as staging:
            try:
                os.link(source, staging / path.name)
            except OSError:
                # exFAT and some network and FUSE file systems have no hard links.
                return False
            _put(staging / path.name, path)
    except OSError as error:
        raise translate(error, str(path)) from error
    return True


def read(path: Path, *, arrays: bool = True) -> Checkpoint | None:
    """Read a checkpoint and verify its SHA-256.

    Args:
        path: the file; symbolic links are followed.
        arrays: return the arrays too; False only verifies them, one at a time.

    Returns:
        The checkpoint, with arrays that may be changed; None if the file does not exist.

    Raises:
        StoreError: the file is damaged, incomplete or of another program, or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    hint = (
        "Move the file away and check the disk. If best.safetensors is complete, you can copy it to last.safetensors."
    )
    opener: Any = safe_open
    try:
        if not os.path.lexists(path):
            return None
        # Opening a named pipe would wait for a writer.
        if not path.is_file():
            raise _NotWholeError("it is not a regular file")
        # With mmap, a read error of the disk would kill the process; with pread, it is an exception.
        with opener(path, framework="np", backend="pread") as file:
            return _check(file, arrays=arrays)
    except (SafetensorError, ValidationError) as error:
        raise StoreError(f"{path} is not a complete checkpoint: {_first_line(error)}", hint=hint) from error
    except _NotWholeError as error:
        raise StoreError(f"{path} is not a complete checkpoint: {error}", hint=hint) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error


class _NotWholeError(Exception):
    """Raised for a file that safetensors accepts but that is not a checkpoint of this package."""


def _check(file: Any, *, arrays: bool) -> Checkpoint:
    found: dict[str, str] = file.metadata() or {}
    if "syft_flwr" not in found:
        raise _NotWholeError("it is a safetensors file that this package did not write")
    if found["syft_flwr"] != _VERSION:
        raise _NotWholeError("it was written by another release")
    metadata = _Metadata.model_validate(found)
    if sorted(file.keys()) != sorted(metadata.names):
        raise _NotWholeError("its arrays differ from the names in its metadata")
    digest = _start_digest(found)
    kept: Arrays = {}
    for name in metadata.names:
        if file.get_slice(name).get_dtype() not in DTYPES.values():
            raise _NotWholeError(f"its array {name!r} has a type that checkpoints do not support")
        array = file.get_tensor(name)
        _add_to_digest(digest, array)
        if arrays:
            kept[name] = array
    if digest.hexdigest() != metadata.sha256:
        raise _NotWholeError("its content does not match its SHA-256")
    return Checkpoint(metadata.round, metadata.metrics, kept)


def _start_digest(metadata: Mapping[str, str]) -> "hashlib._Hash":
    """Return the SHA-256 of the metadata texts. The length before each text makes their boundaries unambiguous."""
    digest = hashlib.sha256()
    for key in _SEALED:
        text = metadata[key].encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest


def _add_to_digest(digest: "hashlib._Hash", array: Any) -> None:
    digest.update(f"{array.dtype.name}{array.shape}".encode())
    # hashlib needs one dimension, and memoryview.cast() fails for an array without elements.
    digest.update(array.reshape(-1).view("uint8"))


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield an empty folder on the file system of ``folder``; delete it afterwards.

    safetensors chooses the name of its temporary file. After a kill, only its folder can be found and deleted.
    """
    place = folder / _STAGING
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _put(temporary: Path, path: Path) -> None:
    """Sync a file to the disk, rename it to ``path``, then sync the folder."""
    fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o600)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _translate(error: Exception, path: Path) -> SyftFlwrError:
    """Return an error of this package for an error of safetensors, which has the system's error in its text only."""
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return translate(OSError(int(number[1]), os.strerror(int(number[1]))), str(path))
    return StoreError(
        f"{path} cannot be written: {_first_line(error)}", hint="Check the permissions of its folder, and the disk."
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_input=False)[0]
        return f"its metadata has a wrong {problem['loc'][0]}"
    return str(error).partition("\n")[0]
