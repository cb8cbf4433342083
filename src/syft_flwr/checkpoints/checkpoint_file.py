"""One checkpoint as a safetensors file that appears whole or not at all.

- The file is written below ``.saving/`` beside its place, brought to the disk, then renamed. What a killed process left
  there is removed by the next save.
- What safetensors does not have stands in the metadata: the round, the metrics, the order of the names, and a SHA-256 over
  all of it and the bytes of the arrays.
- Reading trusts nothing: a file that is not bit by bit what was written is a :class:`StoreError`.

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

#: What a metric may be: the values of Flower's ``MetricRecord``, and the texts and truths of the older API.
MetricValue = bool | int | float | str | list[int] | list[float]

#: Earlier releases copy every array before they write it, and read through a memory map only.
_SAFETENSORS = (0, 8)
_STAGING = ".saving"
_VERSION = "1"
_SEALED = ("syft_flwr", "round", "metrics", "names")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The global arrays after a round.

    Attributes:
        server_round: the round that made them, counted over all restarts; 1 is the first.
        metrics: what was known of them when the file was written.
        arrays: by name, in the order of the model; of any shape, in the machine's byte order.
    """

    server_round: int
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    def to_array_record(self) -> "ArrayRecord":
        """Return the arrays as Flower's Message API has them, for ``to_torch_state_dict()`` and the like."""
        return to_record(self.arrays)


class _Metadata(BaseModel):
    """The file's ``__metadata__``, in which every value is a string."""

    model_config = ConfigDict(frozen=True)

    round: Annotated[int, Field(ge=0)]
    metrics: Json[dict[str, MetricValue]]
    names: Json[list[str]]
    sha256: str


def require_safetensors() -> None:
    """Raise :class:`ConfigError` if the package of the extra is missing or too old, before a round is spent."""
    try:
        from safetensors import __version__ as found
    except ImportError:
        found = ""
    if not found or tuple(int(part) for part in found.split(".")[:2]) < _SAFETENSORS:
        problem = f"{found} is installed" if found else "it is not installed"
        floor = ".".join(map(str, _SAFETENSORS))
        raise ConfigError(
            f"checkpoints need the package safetensors from {floor} on; {problem}",
            hint=f"Run: pip install 'safetensors>={floor}'",
        )


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Put ``checkpoint`` at ``path``, readable by its owner alone; its arrays are written from where they lie.

    Args:
        path: where; what is there is replaced. Its folder exists.
        checkpoint: arrays as :func:`~syft_flwr.checkpoints.arrays.named` gives them.

    Raises:
        StorageFullError, StorageError: it cannot be written; what was at ``path`` is still there.
        ConfigError: its metrics cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

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
        # What could not be read again is not written, such as half a character in a text.
        _Metadata.model_validate(metadata | {"sha256": digest.hexdigest()})
    except ValidationError as error:
        raise ConfigError(f"round {checkpoint.server_round} cannot be saved: {_first_line(error)}") from error
    try:
        with _staging(path.parent) as staging:
            temporary = staging / path.name
            save_file(dict(checkpoint.arrays), temporary, metadata | {"sha256": digest.hexdigest()})
            _put(temporary, path)
    except SafetensorError as error:
        raise _translate(error, path) from error
    except OSError as error:
        raise translate(error, str(path)) from error


def link(source: Path, path: Path) -> bool:
    """Make ``path`` another name of the file ``source``, at once and without writing it again; False if that cannot be.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        with _staging(path.parent) as staging:
            try:
                os.link(source, staging / path.name)
            except OSError:
                # exFAT, some network and FUSE file systems have no hard links.
                return False
            _put(staging / path.name, path)
    except OSError as error:
        raise translate(error, str(path)) from error
    return True


def read(path: Path, *, arrays: bool = True) -> Checkpoint | None:
    """Read a checkpoint and check every bit of it.

    Args:
        path: where; links are followed.
        arrays: return the arrays too; without, they are only checked, one at a time.

    Returns:
        The checkpoint, with arrays of its own that may be written to; None if there is no file.

    Raises:
        StoreError: it is damaged, cut, of another origin, or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    hint = "Move it away, and see whether the disk is in order. A whole best.safetensors can be copied to last.safetensors."
    opener: Any = safe_open
    try:
        if not os.path.lexists(path):
            return None
        # A pipe would be waited for.
        if not path.is_file():
            raise _NotWholeError("it is not a regular file")
        # pread, not mmap: a disk that cannot read is then an error and not the end of the process.
        with opener(path, framework="np", backend="pread") as file:
            return _check(file, arrays=arrays)
    except (SafetensorError, ValidationError) as error:
        raise StoreError(f"{path} is no whole checkpoint: {_first_line(error)}", hint=hint) from error
    except _NotWholeError as error:
        raise StoreError(f"{path} is no whole checkpoint: {error}", hint=hint) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error


class _NotWholeError(Exception):
    """What is wrong with a file that safetensors accepts."""


def _check(file: Any, *, arrays: bool) -> Checkpoint:
    found: dict[str, str] = file.metadata() or {}
    if "syft_flwr" not in found:
        raise _NotWholeError("it is a safetensors file that this package did not write")
    if found["syft_flwr"] != _VERSION:
        raise _NotWholeError("it was written by another release")
    metadata = _Metadata.model_validate(found)
    if sorted(file.keys()) != sorted(metadata.names):
        raise _NotWholeError("its arrays are not those that its metadata names")
    digest = _start_digest(found)
    kept: Arrays = {}
    for name in metadata.names:
        if file.get_slice(name).get_dtype() not in DTYPES.values():
            raise _NotWholeError(f"its array {name!r} has a type that no checkpoint has")
        array = file.get_tensor(name)
        _add_to_digest(digest, array)
        if arrays:
            kept[name] = array
    if digest.hexdigest() != metadata.sha256:
        raise _NotWholeError("its content does not have the SHA-256 that it was written with")
    return Checkpoint(metadata.round, metadata.metrics, kept)


def _start_digest(metadata: Mapping[str, str]) -> "hashlib._Hash":
    """Begin with the texts as they stand in the file, each after its length, so that no text can pass for two."""
    digest = hashlib.sha256()
    for key in _SEALED:
        text = metadata[key].encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest


def _add_to_digest(digest: "hashlib._Hash", array: Any) -> None:
    digest.update(f"{array.dtype.name}{array.shape}".encode())
    # hashlib takes no view of several dimensions, and memoryview casts none that has no elements.
    digest.update(array.reshape(-1).view("uint8"))


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give an empty folder on the file system of ``folder``.

    A folder, because safetensors writes to a name of its own choice first, which we could not find after a kill.
    """
    place = folder / _STAGING
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _put(temporary: Path, path: Path) -> None:
    """Bring a file to the disk, then let it take the place of ``path``, then bring the folder's names to the disk."""
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
    """Turn what safetensors says into ours; the system's error stands in its text only."""
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return translate(OSError(int(number[1]), os.strerror(int(number[1]))), str(path))
    return StoreError(f"{path} cannot be written: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_input=False)[0]
        return f"its metadata has a wrong {problem['loc'][0]}"
    return str(error).partition("\n")[0]
