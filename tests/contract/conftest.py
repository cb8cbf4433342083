"""The transports under test: each storage gives a transport to each of three participants."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest
from broken_folder import break_folder
from drive_client import create, drive_of
from faithful_settings import faithful_settings
from waiting import PATIENCE

from syft_flwr.emulators.gdrive import Fault
from syft_flwr.emulators.syftbox import SyftBoxNetwork
from syft_flwr.emulators.syftbox.acl import Level, Permissions, parse_rules
from syft_flwr.emulators.syftbox.sync_names import PERMISSIONS, Marker, marked
from syft_flwr.errors import NotFoundError
from syft_flwr.testing.contract_storage import DO, DS, NAME, ODD, OTHER, can_read, do, ds  # noqa: F401 - fixtures of every test here
from syft_flwr.testing.gdrive import Emulator
from syft_flwr.transport import folder_events
from syft_flwr.transport._gdrive.api.auth import open_account
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.streams.announcement import FILE, MARK
from syft_flwr.transport._syftbox.daemon import runs_on
from syft_flwr.transport.base import Transport
from syft_flwr.transport.gdrive import GDriveTransport
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

_DOCUMENT = "application/vnd.google-apps.document"


class MemoryStorage:
    pushes_events = True
    peers_delete = True
    hides_files = True

    def __init__(self) -> None:
        self._network = MemoryNetwork()
        self._ends = {email: self._network.transport(email) for email in (DS, DO, OTHER)}

    def end(self, email: str) -> Transport:
        return self._ends[email]

    def may_read(self, email: str, name: str) -> bool:
        return can_read(self._ends[email], name)

    def may_write(self, email: str, name: str) -> bool:
        end = self._ends[email]
        end.put(name, b"written", readers=[])
        written = not end.refused(name)
        if written:
            end.delete(name)
        return written

    def set_aside(self, email: str, name: str) -> None:
        self._ends[email].put(name, b"set aside", readers=[])

    def foreign(self, name: str, data: bytes) -> None:
        self._network.files[name] = (data, frozenset("*"))

    def spoil(self, name: str) -> None:
        pytest.skip("bytes in memory cannot be damaged")

    def break_down(self) -> None:
        pytest.skip("memory does not fail")


class FolderStorage:
    """One folder for all participants; its permission files decide about access, as the SyftBox server does."""

    peers_delete = True
    hides_files = False

    def __init__(self, data_dir: Path, *, pushes_events: bool) -> None:
        self.pushes_events = pushes_events
        self._datasites = data_dir / "datasites"
        outside = data_dir / "outside"
        self._spoilers = cycle([Path.mkdir, os.mkfifo, lambda path: path.symlink_to(outside)])
        self._ends = {email: SyftBoxTransport(data_dir, email) for email in (DS, DO, OTHER)}
        outside.write_bytes(b"outside")

    def end(self, email: str) -> Transport:
        return self._ends[email]

    def may_read(self, email: str, name: str) -> bool:
        return self._permissions().allow(email, name, Level.READ)

    def may_write(self, email: str, name: str) -> bool:
        return self._permissions().allow(email, name, Level.WRITE)

    def set_aside(self, email: str, name: str) -> None:
        self._ends[email].put(name, b"set aside", readers=[])
        (self._datasites / name).rename(self._datasites / marked(name, Marker.REJECTED))

    def foreign(self, name: str, data: bytes) -> None:
        path = self._datasites / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def spoil(self, name: str) -> None:
        path = self._datasites / name
        path.parent.mkdir(parents=True, exist_ok=True)
        next(self._spoilers)(path)

    def break_down(self) -> None:
        break_folder(self._datasites)

    def _permissions(self) -> Permissions:
        permissions = Permissions()
        for path in self._datasites.rglob(PERMISSIONS):
            folder = str(path.parent.relative_to(self._datasites))
            permissions.put(folder, parse_rules(path.read_bytes(), folder))
        return permissions

    def close(self) -> None:
        for end in self._ends.values():
            end.close()


class _Settling:
    """A transport that waits before each read until the writes of all participants have arrived."""

    _READS = frozenset({"get", "open", "keep", "stat", "list", "refused"})

    def __init__(self, inner: Transport, settle: Callable[[], None]) -> None:
        self._inner = inner
        self._settle = settle

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._read, found) if name in self._READS else found

    def _read(self, read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._settle()
        return read(*arguments, **options)

    def open_inbox(self, prefix: str) -> None:
        self._inner.open_inbox(prefix)
        # A peer may write only after the permissions have arrived at the server.
        self._settle()


class SyncedStorage:
    """A machine with SyftBox folders for each participant. The faithful emulator decides about access."""

    pushes_events = True
    peers_delete = True
    hides_files = True

    def __init__(self, root: Path) -> None:
        self._network = SyftBoxNetwork(root, [DS, DO, OTHER], settings=faithful_settings(root.parent))
        self._network.start()
        self._network.settle(PATIENCE)
        outside = root / "outside"
        outside.write_bytes(b"outside")
        self._spoilers = cycle([Path.mkdir, os.mkfifo, lambda path: path.symlink_to(outside)])
        self._broken = False
        folders = {email: self._network[email].data_dir for email in (DS, DO, OTHER)}
        self._opened = {
            email: SyftBoxTransport(folder, email, synced=runs_on(folder)) for email, folder in folders.items()
        }
        self._ends: dict[str, Any] = {email: _Settling(end, self._settle) for email, end in self._opened.items()}

    def _settle(self) -> None:
        if not self._broken:
            self._network.settle(PATIENCE)

    def end(self, email: str) -> Transport:
        end: Transport = self._ends[email]
        return end

    def may_read(self, email: str, name: str) -> bool:
        return can_read(self._ends[email], name)

    def may_write(self, email: str, name: str) -> bool:
        end = self._ends[email]
        self._settle()
        end.put(name, b"written", readers=[])
        written = not end.refused(name)
        end.delete(name)
        return written

    def set_aside(self, email: str, name: str) -> None:
        self._ends[email].put(name, b"set aside", readers=[])

    def foreign(self, name: str, data: bytes) -> None:
        path = self._network[DO].datasites / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def spoil(self, name: str) -> None:
        spoiler = next(self._spoilers)
        for email in self._opened:
            path = self._network[email].datasites / name
            path.parent.mkdir(parents=True, exist_ok=True)
            spoiler(path)

    def break_down(self) -> None:
        self._broken = True
        for email in self._opened:
            break_folder(self._network[email].datasites)

    def close(self) -> None:
        self._network.stop()
        for end in self._opened.values():
            end.close()


class DriveStorage:
    """An emulated Google Drive; each participant has an account, and the others are its peers."""

    pushes_events = True
    peers_delete = False
    hides_files = True

    def __init__(self, folder: Path) -> None:
        emails = (DS, DO, OTHER)
        self._emulator = Emulator(users=[*emails, *ODD])
        self._emulator.start()
        self._token = folder / f"{DO}.json"
        self._positions = count(1)
        self._spoilers = cycle([{"content": None}, {"content": None, "mimeType": _DOCUMENT}, {"content": b""}])
        self._ends = {}
        for email in emails:
            token = folder / f"{email}.json"
            self._emulator.write_token(email, token)
            drive = DriveClient(open_account(token, self._emulator.url), budget=Budget(1e12, 1e9, 1e9))
            peers = [peer for peer in emails if peer != email]
            self._ends[email] = GDriveTransport(drive, email, folder / email, peers=peers, poll_interval=0.05, look=0.1)

    def end(self, email: str) -> Transport:
        return self._ends[email]

    def may_read(self, email: str, name: str) -> bool:
        try:
            return bool(self._ends[email].get(name, max_size=1 << 20))
        except NotFoundError:
            return False

    def may_write(self, email: str, name: str) -> bool:
        end = self._ends[email]
        end.put(name, b"written", readers=[])
        try:
            return self.may_read(name.partition("/")[0], name)
        finally:
            end.delete(name)

    def set_aside(self, email: str, name: str) -> None:
        self._ends[email].put(name, b"set aside", readers=[])

    def foreign(self, name: str, data: bytes) -> None:
        self._create(name, content=data)

    def spoil(self, name: str) -> None:
        self._create(name, **next(self._spoilers))

    def _create(self, name: str, **said: Any) -> None:
        beside = next(file for file in self._emulator.files(DO) if file.name == NAME)
        # The marks of files in a stream. Files without them are ignored.
        marks = {MARK: FILE, "n": str(next(self._positions)), "low": "0"}
        with drive_of(self._token, self._emulator.url) as drive:
            create(drive, name, parent=beside.parents[0], properties=marks, **said)

    def break_down(self) -> None:
        self._emulator.inject(Fault("error", status=403, reason="accessNotConfigured", times=None))

    def close(self) -> None:
        self._emulator.heal()
        for end in self._ends.values():
            end.close()
        self._emulator.close()


@pytest.fixture
def without_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the machine's mount table show every folder as NFS."""

    def _switch_off() -> None:
        mounts = tmp_path / "mounts"
        mounts.write_text("server:/export / nfs4 rw 0 0\n")
        monkeypatch.setattr(folder_events, "gives_events", partial(folder_events.gives_events, mounts=mounts))

    return _switch_off


@pytest.fixture(params=["memory", "syftbox", "syftbox-without-events", "syftbox-synced", "gdrive"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, without_events: Callable[[], None]
) -> Iterator[MemoryStorage | FolderStorage | SyncedStorage | DriveStorage]:
    if request.param == "memory":
        yield MemoryStorage()
        return
    if request.param == "syftbox-synced":
        synced = SyncedStorage(tmp_path / "machines")
        yield synced
        synced.close()
        return
    if request.param == "gdrive":
        drive = DriveStorage(tmp_path)
        yield drive
        drive.close()
        return
    if request.param == "syftbox-without-events":
        without_events()
    folders = FolderStorage(tmp_path / "data", pushes_events=request.param == "syftbox")
    yield folders
    folders.close()
