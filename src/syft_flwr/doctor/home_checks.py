"""Checks of the home of a participant: those of each start, and whether files can be written there as databases need it."""

import errno
import fcntl
import mmap
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from syft_flwr.disk_errors import NO_LOCKS
from syft_flwr.doctor.findings import Finding, ok, problem, problem_of
from syft_flwr.doctor.subject import Subject, require_home
from syft_flwr.fl_orchestrator.private_home import existing_folder, find_problems
from syft_flwr.private_files import FILE
from syft_flwr.transport.folder_events import file_system_of

_OWN_DISK = "Set SYFT_FLWR_HOME to a folder on a disk of this machine."


def check_home_modes(subject: Subject) -> Iterator[Finding]:
    """Find a home, keys or a login that other users of this machine can read, or that belong to another user."""
    home = require_home(subject)
    yield from map(problem_of, find_problems(home, "modes"))
    yield ok(f"only this user can read {home}")


def check_home_disk(subject: Subject) -> Iterator[Finding]:
    """Find a home on a network share, where databases can be damaged."""
    yield from map(problem_of, find_problems(subject.home, "disk"))
    place = existing_folder(subject.home)
    yield ok(f"{place} is on {file_system_of(place) or 'a file system of unknown kind'}")


def check_home_space(subject: Subject) -> Iterator[Finding]:
    """Find a disk without room for databases, kept replies and logs."""
    yield from map(problem_of, find_problems(subject.home, "space"))
    place = existing_folder(subject.home)
    yield ok(f"{shutil.disk_usage(place).free / 1e9:.1f} GB are free on the disk of {place}")


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
            with suppress(OSError):
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
