"""Looks at the home of a participant: who can read it, its file system, and its free space. Each problem has its remedy.

A start logs a warning for each problem. It refuses only that without which no run is possible, when it opens the files.
"""

import os
import re
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from syft_flwr.errors import StorageFullError, StoreError, SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.transport.folder_events import file_system_of

#: The private files of a home. The databases of an app are in a private folder of their own.
_FILES = ("identity.key", "peers.db", "gdrive_token.json")
_OTHERS = 0o077
#: File systems of other machines. SQLite's write-ahead log needs memory that all processes share, which they do not give.
_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|afs|ceph|glusterfs|lustre")
#: Bytes of free space that databases and logs need.
_LEAST_SPACE = 64 << 20


def find_problems(home: Path, *checks: str) -> list[SyftFlwrError]:
    """Make the named checks of :data:`HOME_CHECKS`, or all; return the problems that they find.

    Raises:
        OSError: a folder cannot be looked at.
    """
    return [problem for name in checks or HOME_CHECKS for problem in HOME_CHECKS[name](home)]


def warn_of_problems(home: Path) -> None:
    """Log a warning for each problem of the home, once in a process."""
    try:
        found = find_problems(home)
    except OSError:
        # The first call that needs the home tells it.
        return
    for problem in found:
        _warn(problem.diagnose())


@cache
def _warn(text: str) -> None:
    logger.warning("{}", text)


def _open_to_others(home: Path) -> Iterator[SyftFlwrError]:
    for path in (home, *(home / name for name in _FILES)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if status.st_uid != os.geteuid():
            yield StoreError(
                f"{path} belongs to another user (number {status.st_uid})",
                hint="Start syft-flwr as that user, or set SYFT_FLWR_HOME to a folder of this user.",
            )
        elif stat.S_IMODE(status.st_mode) & _OTHERS:
            mode = "700" if path == home else "600"
            yield StoreError(f"{path} can be read by others", hint=f"Run: chmod {mode} {shlex.quote(str(path))}")


def _on_a_share(home: Path) -> Iterator[SyftFlwrError]:
    kind = file_system_of(existing_folder(home))
    if _NETWORK.fullmatch(kind):
        yield StoreError(
            f"{home} is on a network file system ({kind}), where the databases of this participant can be damaged",
            hint="Set SYFT_FLWR_HOME to a folder on a disk of this machine.",
        )


def _full(home: Path) -> Iterator[SyftFlwrError]:
    place = existing_folder(home)
    free = shutil.disk_usage(place).free
    files = os.statvfs(place)
    if free < _LEAST_SPACE:
        yield StorageFullError(
            f"{free / 1e6:.1f} MB are free on the disk of {place}; databases and logs need {_LEAST_SPACE / 1e6:.0f} MB",
            hint="Free disk space there; `syft-flwr gc` deletes the files of crashed runs.",
        )
    elif files.f_files and not files.f_favail:
        yield StorageFullError(f"the disk of {place} has no room for a further file", hint="Delete files there.")


def existing_folder(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


HOME_CHECKS: dict[str, Callable[[Path], Iterator[SyftFlwrError]]] = {
    "modes": _open_to_others,
    "disk": _on_a_share,
    "space": _full,
}
