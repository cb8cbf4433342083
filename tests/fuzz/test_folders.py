"""A watched folder in which others place links, pipes, devices, sparse files and undecodable names.

In every case the transport raises its own errors at once, and neither reads nor writes outside of the folder.
"""

import contextlib
import os
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile.invariants import MEMORY, bounded_memory, release
from hypothesis import given, settings
from hypothesis import strategies as st

from syft_flwr.errors import NotFoundError, TooLargeError, TransportError
from syft_flwr.names import is_valid_name
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO = "ds@x.org", "do@y.org"
INBOX = f"{DO}/app_data/flwr/app/rpc/"
FOLDER = f"{INBOX}messages/{DS}"
NAMES = (
    *(f"{FOLDER}/{digit * 32}.request" for digit in "0ab"),
    f"{INBOX}syft.pub.yaml",
    f"{DO}/public/one.json",
)
SECRET = b"content outside of the shared folders"
CONTENT = b"content of a peer"
MAX_SIZE = 1 << 20
HUGE = 1 << 36
PATIENCE = 10.0

#: Places for a hostile entry: at an expected name, beside it, or at a folder on the path to it.
PLACES = (
    *(name.encode() for name in NAMES),
    *(name.rpartition("/")[0].encode() for name in NAMES),
    f"{DO}/app_data".encode(),
    DO.encode(),
    f"{FOLDER}/.hidden.request".encode(),
    f"{FOLDER}/-rf".encode(),
    f"{FOLDER}/a b\n.request".encode(),
    f"{FOLDER}/".encode() + b"\xff\xfe.request",
    f"{FOLDER}/é\u202e.request".encode(),
    f"{FOLDER}/{'n' * 255}".encode(),
    f"{FOLDER}/{'0' * 32}.rejected.request".encode(),
    f"{FOLDER}/one.request.tmp".encode(),
    b"\xff\xfe/" + b"sub/" * 3 + b"one.request",
)


@dataclass(frozen=True, slots=True)
class Places:
    """A data folder, and a folder beside it that its user never shared."""

    data: Path
    outside: Path

    @property
    def root(self) -> bytes:
        return os.fsencode(self.data / "datasites")

    def outside_is_untouched(self) -> bool:
        found = {path.name: path.read_bytes() for path in self.outside.rglob("*") if path.is_file()}
        return found == {"secret": SECRET, "one.json": SECRET, f"{'0' * 32}.request": SECRET}


Action = Callable[[bytes, Places], None]


def a_file(path: bytes, _: Places) -> None:
    # Mode "x" does not follow a link that was placed before; otherwise the test would write outside.
    with Path(os.fsdecode(path)).open("xb") as file:
        file.write(CONTENT)


def an_empty_file(path: bytes, _: Places) -> None:
    Path(os.fsdecode(path)).touch(exist_ok=False)


def holes(path: bytes, _: Places) -> None:
    an_empty_file(path, _)
    os.truncate(path, HUGE)


def a_folder(path: bytes, _: Places) -> None:
    os.mkdir(path)


def folders_in_folders(path: bytes, _: Places) -> None:
    os.mkdir(path)
    os.makedirs(path + b"/" + b"f/" * 40)
    Path(os.fsdecode(path + b"/" + b"f/" * 40 + b"deep.request")).write_bytes(CONTENT)


def a_link_to_a_file(path: bytes, places: Places) -> None:
    os.symlink(os.fsencode(places.outside / "secret"), path)


def a_link_to_a_folder(path: bytes, places: Places) -> None:
    os.symlink(os.fsencode(places.outside), path)


def a_link_that_climbs(path: bytes, places: Places) -> None:
    climb = os.path.relpath(os.fsencode(places.outside), os.path.dirname(path))
    os.symlink(climb, path)


def a_link_to_itself(path: bytes, _: Places) -> None:
    os.symlink(os.path.basename(path), path)


def a_link_to_nothing(path: bytes, places: Places) -> None:
    os.symlink(os.fsencode(places.outside / "new"), path)


def a_link_to_the_kernel(path: bytes, _: Places) -> None:
    os.symlink("/proc/self/environ", path)


def a_pipe(path: bytes, _: Places) -> None:
    os.mkfifo(path)


def a_socket(path: bytes, places: Places) -> None:
    # The path of a socket must be short, so the socket is made elsewhere and moved.
    short = os.fsencode(places.data / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(short)
    os.rename(short, path)


def a_device(path: bytes, _: Places) -> None:
    # /dev/zero has no end. Only root can make a device, and not on every system.
    with contextlib.suppress(PermissionError):
        os.mknod(path, 0o644 | stat.S_IFCHR, os.makedev(1, 5))


ACTIONS: tuple[Action, ...] = (
    a_file,
    an_empty_file,
    holes,
    a_folder,
    folders_in_folders,
    a_link_to_a_file,
    a_link_to_a_folder,
    a_link_that_climbs,
    a_link_to_itself,
    a_link_to_nothing,
    a_link_to_the_kernel,
    a_pipe,
    a_socket,
    a_device,
)
hostile = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(ACTIONS)), max_size=8)


@contextlib.contextmanager
def places() -> Iterator[Places]:
    """Yield temporary folders; the files outside have the same names as the expected files inside."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        found = Places(Path(folder, "data"), Path(folder, "outside"))
        (found.data / "datasites").mkdir(parents=True)
        found.outside.mkdir()
        for name in ("secret", "one.json", f"{'0' * 32}.request"):
            (found.outside / name).write_bytes(SECRET)
        yield found


def place(action: Action, where: bytes, folders: Places) -> None:
    """Place an entry at a path, if the file system allows it."""
    path = folders.root + b"/" + where
    parent = os.path.dirname(path)
    with contextlib.suppress(OSError):
        os.makedirs(parent, exist_ok=True)
        if os.path.realpath(parent).startswith(os.path.realpath(folders.root)):
            action(path, folders)


class Blocked(BaseException):
    """A call blocked for too long. This is not an OSError, because the transport would translate it."""


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Raise :class:`Blocked` in a call that blocks for longer than ``PATIENCE`` seconds."""

    def late(*_: object) -> None:
        raise Blocked

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def require_safe_reads(transport: SyftBoxTransport, folders: Places) -> None:
    for name in NAMES:
        with contextlib.suppress(TransportError):
            entry = transport.stat(name)
            assert stat.S_ISREG(os.lstat(folders.root + b"/" + name.encode()).st_mode)
            assert entry.size > 0
        with contextlib.suppress(TransportError):
            assert transport.get(name, max_size=MAX_SIZE) == CONTENT
        with contextlib.suppress(TransportError), transport.open(name, max_size=HUGE * 2) as file:
            assert file.read(100) in (CONTENT, bytes(100))
        with contextlib.suppress(TransportError):
            transport.refused(name)
        kept = folders.data / "kept"
        with contextlib.suppress(TransportError):
            transport.keep(name, kept, max_size=MAX_SIZE)
            assert not kept.is_symlink()
            assert kept.read_bytes() == CONTENT


def require_safe_lists(transport: SyftBoxTransport, folders: Places) -> None:
    for prefix in ("", f"{DO}/", INBOX, f"{FOLDER}/", "no/such/"):
        with contextlib.suppress(TransportError):
            for entry in transport.list(prefix):
                assert is_valid_name(entry.name)
                path = folders.root + b"/" + entry.name.encode()
                status = os.lstat(path)
                assert stat.S_ISREG(status.st_mode)
                assert entry.size == status.st_size > 0
                assert os.path.realpath(path).startswith(os.path.realpath(folders.root))


@settings(derandomize=True, max_examples=60)
@given(hostile)
def test_reading_is_safe_in_a_hostile_folder(found: list[tuple[bytes, Action]]) -> None:
    with places() as folders:
        transport = SyftBoxTransport(folders.data, DO)
        for where, action in found:
            place(action, where, folders)
        with at_once(), bounded_memory(MEMORY):
            require_safe_lists(transport, folders)
            require_safe_reads(transport, folders)
        assert folders.outside_is_untouched()
        transport.close()


@settings(derandomize=True, max_examples=60)
@given(hostile)
def test_writing_and_deleting_stay_inside_the_folder(found: list[tuple[bytes, Action]]) -> None:
    with places() as folders:
        transport = SyftBoxTransport(folders.data, DO)
        for where, action in found:
            place(action, where, folders)
        with at_once():
            with contextlib.suppress(TransportError):
                transport.open_inbox(INBOX)
            for number, name in enumerate(NAMES):
                with contextlib.suppress(TransportError):
                    transport.put(name, b"mine", readers=[DS], replace=bool(number % 2))
                    assert transport.get(name, max_size=MAX_SIZE) == b"mine"
            for name in NAMES:
                with contextlib.suppress(TransportError):
                    transport.delete(name)
        assert folders.outside_is_untouched()
        transport.close()


def test_watch_survives_hostile_files() -> None:
    with places() as folders:
        transport, peer = SyftBoxTransport(folders.data, DO), SyftBoxTransport(folders.data, DS)
        (folders.data / "datasites" / FOLDER).mkdir(parents=True)
        with transport.watch([""]) as watch:
            for number, action in enumerate(ACTIONS):
                for where in (f"{FOLDER}/{number:032x}.request", f"{FOLDER}/\udcff{number}", f"{DO}/x{number}"):
                    place(action, os.fsencode(where), folders)
            os.symlink(folders.outside, os.fsdecode(folders.root + b"/linked"))
            (folders.outside / "new.request").write_bytes(SECRET)
            last = f"{FOLDER}/{'f' * 32}.request"
            peer.put(last, CONTENT, readers=[DO])
            seen: set[str] = set()
            deadline = time.monotonic() + PATIENCE
            while last not in seen and time.monotonic() < deadline:
                seen |= watch.wait(0.1)
        assert last in seen
        assert all(is_valid_name(name) for name in seen)
        assert not {name for name in seen if "new.request" in name or "secret" in name}
        for end in (transport, peer):
            end.close()


def test_oversized_file_is_refused_unread() -> None:
    with places() as folders:
        transport = SyftBoxTransport(folders.data, DO)
        place(holes, NAMES[0].encode(), folders)
        release()
        with bounded_memory(MAX_SIZE):
            for read in (transport.get, transport.open):
                with pytest.raises(TooLargeError):
                    read(NAMES[0], max_size=MAX_SIZE)
        transport.close()


@pytest.mark.parametrize("action", ACTIONS[4:], ids=lambda action: action.__name__)
def test_non_regular_file_is_not_found(action: Action) -> None:
    with places() as folders:
        transport = SyftBoxTransport(folders.data, DO)
        place(action, NAMES[0].encode(), folders)
        for look in (transport.stat, lambda name: transport.get(name, max_size=MAX_SIZE)):
            with at_once(), pytest.raises(NotFoundError):
                look(NAMES[0])
        transport.close()
