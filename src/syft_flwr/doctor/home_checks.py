"""Checks of the home of a participant: those of each start, and whether files can be written there as databases need it."""

import fcntl
import mmap
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from syft_flwr._store.lasting_locks import lasting_writers
from syft_flwr.disk_errors import FULL, NO_LOCKS, no_room
from syft_flwr.doctor.blocked import BlockedError, folders_below
from syft_flwr.doctor.findings import Finding, of_database, ok, problem, problem_of
from syft_flwr.doctor.subject import PEERS_FILE, Subject, require_home
from syft_flwr.errors import StoreError
from syft_flwr.fl_orchestrator.private_home import existing_folder, find_problems
from syft_flwr.private_files import FILE
from syft_flwr.runs.listing import SIDES, app_homes
from syft_flwr.text import counted
from syft_flwr.transport.folder_events import file_system_of

_ELSE = "Set SYFT_FLWR_HOME to a folder that this user may write to."
#: Seconds for which no transaction of a run lasts.
_TRANSACTION = 3.0
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
    place = existing_folder(subject.home)
    if blocking := next((path for path in folders_below(place, subject.home) if os.path.lexists(path)), None):
        yield problem(f"{blocking} is a file or a broken link in the place of a folder", f"Move it away. {_ELSE}")
        return
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        yield problem(f"the file system of {place} is mounted read-only", f"Mount it for writing. {_ELSE}")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield problem(f"this user may not write to {place}, so the home {subject.home} cannot be used", _ELSE)
        return
    home = require_home(subject)
    probe, second = (home / f".doctor-{secrets.token_hex(6)}{end}" for end in ("", ".link"))
    try:
        fd = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE)
        try:
            yield from _abilities(home, probe, second, fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in FULL:
            raise
        if find_problems(home, "space"):
            raise BlockedError(f"no room is left in {home}", "home-space") from error
        # Such as a quota of this user, or of the folder.
        yield problem_of(no_room(f"a file in {home}"))
    finally:
        for path in (probe, second):
            with suppress(OSError):
                path.unlink()


def check_databases(subject: Subject) -> Iterator[Finding]:
    """Find a database of an app that is damaged, locked by another program, or written by another release."""
    home = require_home(subject)
    readable = 0
    sides = {folder / side.database: side for folder in app_homes(home) for side in SIDES}
    found = {path: side for path, side in sides.items() if path.is_file()}
    locked = lasting_writers([*found, home / PEERS_FILE], _TRANSACTION)
    for path, process in locked.items():
        yield problem(
            f"{path} is locked: process {process}{_name_of(process)} has held its lock for more than {_TRANSACTION:.0f} s",
            f"Look at this process, and end it if it hangs: ps -fp {process}",
        )
    for path in found.keys() - locked.keys():
        try:
            found[path].open(path).close()
            readable += 1
        except StoreError as error:
            yield of_database(error)
    yield ok(f"{counted(readable, 'database')} of runs can be read")


def _name_of(process: int) -> str:
    with suppress(OSError):
        return f" ({Path(f'/proc/{process}/comm').read_text(errors='replace').strip()})"
    return ""


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
        if error.errno in FULL:
            raise
        links = "it has no hard links, so files are copied"
    yield ok(f"files in {home} can be written and locked; {links}")
