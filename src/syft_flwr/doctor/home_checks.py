"""Checks of the home of a participant: who can read it, its file system, and its free space."""

import errno
import fcntl
import mmap
import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from syft_flwr.disk_errors import NO_LOCKS
from syft_flwr.doctor.findings import Finding, ok, problem
from syft_flwr.doctor.subject import PEERS_FILE, Subject, require_home
from syft_flwr.private_files import FILE
from syft_flwr.transport.folder_events import file_system_of, is_shared

#: The private files of a home; the databases of an app are in its own private folder.
_PRIVATE = ("identity.key", PEERS_FILE, "gdrive_token.json")
_OTHERS = 0o077
#: Bytes of free space that databases and logs need.
_LEAST_SPACE = 64 << 20
_OWN_DISK = "Set SYFT_FLWR_HOME to a folder on a disk of this machine."


def check_home_modes(subject: Subject) -> Iterator[Finding]:
    """Find a home, keys or a login that other users of this machine can read, or that belong to another user."""
    home = require_home(subject)
    found = False
    for path in (home, *(home / name for name in _PRIVATE)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if status.st_uid != os.geteuid():
            found = True
            yield problem(
                f"{path} belongs to another user (number {status.st_uid})",
                "Start syft-flwr as that user, or set SYFT_FLWR_HOME to a folder of this user.",
            )
        elif stat.S_IMODE(status.st_mode) & _OTHERS:
            found = True
            mode = "700" if path == home else "600"
            yield problem(f"{path} can be read by others", f"Run: chmod {mode} {shlex.quote(str(path))}")
    if not found:
        yield ok(f"only this user can read {home}")


def check_home_disk(subject: Subject) -> Iterator[Finding]:
    """Find a home on a network share, where databases can be damaged."""
    place = _existing(subject.home)
    kind = file_system_of(place)
    if is_shared(kind):
        yield problem(
            f"the home {subject.home} is on a shared or network file system ({kind}), where its databases can be damaged",
            _OWN_DISK,
        )
    else:
        yield ok(f"{place} is on {kind or 'a file system of unknown kind'}")


def check_home_writes(subject: Subject) -> Iterator[Finding]:
    """Find a home in which files cannot be written, locked, linked or shared between processes, by a file that is deleted."""
    home = require_home(subject)
    probe, second = (home / f".doctor-{secrets.token_hex(6)}{end}" for end in ("", ".link"))
    try:
        fd = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
        try:
            yield from _abilities(home, probe, second, fd)
        finally:
            os.close(fd)
    finally:
        for path in (probe, second):
            with suppress(FileNotFoundError):
                path.unlink()


def _abilities(home: Path, probe: Path, second: Path, fd: int) -> Iterator[Finding]:
    os.write(fd, bytes(mmap.PAGESIZE))
    os.fsync(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        yield problem(f"the file system of {home} has no locks", _OWN_DISK)
        return
    try:
        mmap.mmap(fd, mmap.PAGESIZE).close()
    except OSError:
        yield problem(f"the file system of {home} has no shared memory, which the databases need", _OWN_DISK)
        return
    try:
        os.link(probe, second)
        links = "hard links work"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        links = "it has no hard links, so files are copied"
    yield ok(f"files in {home} can be written and locked; {links}")


def check_home_space(subject: Subject) -> Iterator[Finding]:
    """Find a disk without room for databases, kept replies and logs."""
    place = _existing(subject.home)
    free = shutil.disk_usage(place).free
    if free < _LEAST_SPACE:
        yield problem(
            f"{free / 1e6:.1f} MB are free on the disk of {place}; databases and logs need {_LEAST_SPACE / 1e6:.0f} MB",
            "Free disk space there; `syft-flwr gc` deletes the files of crashed runs.",
        )
        return
    files = os.statvfs(place)
    if files.f_files and not files.f_favail:
        yield problem(f"the disk of {place} has room for no further file", "Delete files there.")
        return
    yield ok(f"{free / 1e9:.1f} GB are free on the disk of {place}")


def _existing(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
