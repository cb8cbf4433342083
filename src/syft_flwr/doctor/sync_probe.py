"""Finds out whether a SyftBox client really syncs: a probe file in the own datasite, in a folder with a reserved name.

The client uploads the file with its next scan, and the server refuses it, because no file may have such a folder in its
path. Then the client renames the file. So the new name proves a scan, a login and a connection to the server, and no other
participant ever gets the file. It is deleted in every case (``docs/adr/0030-probe-file.md``).
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from syft_flwr.errors import NotFoundError
from syft_flwr.files import open_folder

#: The server refuses each file below a folder of this name.
_RESERVED = "_internal"
_PREFIX = "syft-flwr-doctor-"
#: Seconds after which a probe was left by a process that was killed.
_LEFT = 600.0
_PAUSE = 0.05
_ATTEMPTS = 20


def seconds_until_synced(datasites: Path, email: str, limit: float) -> float | None:
    """Write a probe, and return after how many seconds the client has taken it over; None after ``limit`` seconds.

    Raises:
        StorageError: the own datasite has no folder for it.
        OSError: the probe cannot be written.
    """
    parts = [email, "public"] if (datasites / email / "public").is_dir() else [email]
    for _ in range(_ATTEMPTS):
        # Another doctor may remove the folder before the probe is in it.
        with contextlib.suppress(NotFoundError):
            return _probe(datasites, parts, limit)
    return _probe(datasites, parts, limit)


def _probe(datasites: Path, parts: list[str], limit: float) -> float | None:
    stem = f"{_PREFIX}{secrets.token_hex(6)}"
    with _made(datasites, parts), open_folder(datasites, [*parts, _RESERVED]) as folder:
        _delete(folder, _left(folder))
        try:
            return _await(folder, stem, limit)
        finally:
            names = os.listdir(folder)  # noqa: PTH208 - of a descriptor
            _delete(folder, [name for name in names if name.startswith(stem)])


@contextlib.contextmanager
def _made(datasites: Path, parts: list[str]) -> Iterator[None]:
    """Make the reserved folder, and remove it again if it is empty."""
    with open_folder(datasites, parts) as above:
        with contextlib.suppress(FileExistsError):
            os.mkdir(_RESERVED, dir_fd=above)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(_RESERVED, dir_fd=above)


def _await(folder: int, stem: str, limit: float) -> float | None:
    name = f"{stem}.txt"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        # The content differs each time, so that the client never takes it for a known file.
        file.write(f"A probe of syft-flwr doctor, which deletes it: {stem}\n")
    started = time.monotonic()
    while name in os.listdir(folder):
        if time.monotonic() - started >= limit:
            return None
        time.sleep(_PAUSE)
    return time.monotonic() - started


def _left(folder: int) -> list[str]:
    """Return the old probes of processes that were killed."""
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            age = time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            if name.startswith(_PREFIX) and age > _LEFT:
                found.append(name)
    return found


def _delete(folder: int, names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
