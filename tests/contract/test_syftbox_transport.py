"""Behaviour that only the SyftBox transport has: links and pipes in folders, permission files, events, full disks."""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from syft_flwr.emulators.syftbox.sync_names import Marker, is_ignored, marked
from syft_flwr.errors import ConflictError, NotFoundError, StorageFullError, TooLargeError, TransportError
from syft_flwr.names import unmarked
from syft_flwr.testing import FakeClock
from syft_flwr.transport._syftbox import folder_listing
from syft_flwr.transport._syftbox.pace import Pace
from syft_flwr.transport.base import Entry
from syft_flwr.transport.folder_events import gives_events
from syft_flwr.transport.inotify import Inotify
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
FOLDER = f"{DO}/app_data/flwr/app"
NAME = f"{FOLDER}/objects/ab/one.blob"
INBOX = f"{FOLDER}/rpc/"
REQUEST = f"{INBOX}messages/{DS}/{'0' * 32}.request"
PUSHED = f"{FOLDER}/objects/00/{'a' * 32}.request"
SIZE = 1 << 30
PATIENCE = 10.0

Open = Callable[..., SyftBoxTransport]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def datasites(data_dir: Path) -> Path:
    return data_dir / "datasites"


@pytest.fixture
def open_transport(data_dir: Path) -> Iterator[Open]:
    opened: list[SyftBoxTransport] = []

    def _open(email: str = DO, folder: Path = data_dir) -> SyftBoxTransport:
        opened.append(SyftBoxTransport(folder, email))
        return opened[-1]

    yield _open
    for transport in opened:
        transport.close()


@pytest.fixture
def do(open_transport: Open) -> SyftBoxTransport:
    return open_transport(DO)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder with a secret, which must not be reachable through the datasites."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "one.blob").write_bytes(b"secret")
    return folder


def files_below(folder: Path) -> set[str]:
    """Return the paths of the files below a folder, without those that keep a folder."""
    files = (path for path in folder.rglob("*") if not path.is_dir() and path.name != ".syftkeep")
    return {str(path.relative_to(folder)) for path in files}


# The folder of second names


def test_folder_of_second_names_is_private_and_on_demand(open_transport: Open, data_dir: Path, datasites: Path) -> None:
    folders = [open_transport(email).properties.links for email in (DO, DS)]

    assert folders == [data_dir / ".syft_flwr_links" / email for email in (DO, DS)]
    assert not any(folder.is_relative_to(datasites) for folder in folders if folder)
    assert not (data_dir / ".syft_flwr_links").exists()


def test_second_names_survive_a_restart(open_transport: Open, do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    links = do.properties.links
    assert links is not None
    links.mkdir(parents=True)
    do.keep(NAME, links / "one", max_size=SIZE)
    do.close()
    (datasites / NAME).unlink()

    open_transport()

    assert (links / "one").read_bytes() == b"content"


# Links, pipes and other entries that are not files


@pytest.mark.parametrize("depth", range(1, 6), ids=["datasite", "app_data", "flwr", "app", "objects"])
def test_link_in_the_path_is_not_followed(do: SyftBoxTransport, datasites: Path, outside: Path, depth: int) -> None:
    *folders, leaf = NAME.split("/")
    target = outside.joinpath(*folders[depth:])
    target.mkdir(parents=True, exist_ok=True)
    (target / leaf).write_bytes(b"secret")
    link = datasites.joinpath(*folders[:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside, target_is_directory=True)
    before = files_below(outside)

    for look in (
        lambda: do.get(NAME, max_size=SIZE),
        lambda: do.open(NAME, max_size=SIZE),
        lambda: do.stat(NAME),
    ):
        with pytest.raises(NotFoundError):
            look()
    for write in (
        lambda: do.put(NAME, b"content", readers=[DS]),
        lambda: do.put(NAME, b"content", readers=[DS], replace=True),
        lambda: do.open_inbox(f"{FOLDER}/objects/ab/"),
    ):
        with pytest.raises(TransportError):
            write()
    do.delete(NAME)
    assert not do.refused(NAME)
    assert list(do.list(f"{DO}/")) == []
    assert files_below(outside) == before
    assert (target / leaf).read_bytes() == b"secret"


def test_link_in_place_of_a_file_is_not_followed(do: SyftBoxTransport, datasites: Path, outside: Path) -> None:
    link = datasites / NAME
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "one.blob")

    with pytest.raises(NotFoundError):
        do.get(NAME, max_size=SIZE)
    with pytest.raises(NotFoundError):
        do.stat(NAME)
    assert list(do.list(f"{DO}/")) == []
    with pytest.raises(ConflictError):
        do.put(NAME, b"content", readers=[DS])
    do.put(NAME, b"content", readers=[DS], replace=True)

    assert not link.is_symlink()
    assert do.get(NAME, max_size=SIZE) == b"content"
    assert (outside / "one.blob").read_bytes() == b"secret"


def test_deleting_a_link_keeps_its_target(do: SyftBoxTransport, datasites: Path, outside: Path) -> None:
    (datasites / NAME).parent.mkdir(parents=True)
    (datasites / NAME).symlink_to(outside / "one.blob")

    do.delete(NAME)

    assert not (datasites / NAME).is_symlink()
    assert (outside / "one.blob").read_bytes() == b"secret"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [make_pipe, make_folder, make_dangling_link, make_loop])
def test_pipe_folder_or_broken_link_is_not_found(
    do: SyftBoxTransport, datasites: Path, make: Callable[[Path], None]
) -> None:
    path = datasites / NAME
    path.parent.mkdir(parents=True)
    make(path)

    for look in (lambda: do.get(NAME, max_size=SIZE), lambda: do.open(NAME, max_size=SIZE), lambda: do.stat(NAME)):
        with pytest.raises(NotFoundError):
            look()
    assert list(do.list(f"{DO}/")) == []
    with pytest.raises(ConflictError):
        do.put(NAME, b"content", readers=[DS])


def test_failed_replace_leaves_nothing(do: SyftBoxTransport, data_dir: Path) -> None:
    (data_dir / "datasites" / NAME).mkdir(parents=True)

    with pytest.raises(TransportError, match=r"one\.blob"):
        do.put(NAME, b"content", readers=[], replace=True)

    assert files_below(data_dir) == set()


def test_listing_skips_foreign_and_incomplete_files(do: SyftBoxTransport, datasites: Path, outside: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    folder = (datasites / NAME).parent
    foreign = [
        ".hidden",
        ".one.blob.0123456789ab.tmp",
        "two.tmp",
        "two.log",
        "with space.blob",
        "ümlaut.blob",
        "one.rejected.blob",
        "one.rejected.20300102030405.blob",
        "one.conflict.blob",
        "one.syftrejected.blob",
        "syft.pub.yaml",
    ]
    for name in foreign:
        (folder / name).write_bytes(b"foreign")
    (folder / os.fsdecode(b"not-\xff-utf8.blob")).write_bytes(b"foreign")
    (folder / "empty.blob").touch()
    (folder / "link.blob").symlink_to(outside / "one.blob")
    (folder / "folder.blob").symlink_to(outside, target_is_directory=True)
    (folder / "venv").mkdir()
    (folder / "venv" / "two.blob").write_bytes(b"foreign")
    make_pipe(folder / "pipe.blob")

    assert list(do.list(f"{DO}/")) == [Entry(NAME, 7)]


def test_listing_continues_when_a_file_vanishes(do: SyftBoxTransport, datasites: Path) -> None:
    names = {f"{FOLDER}/objects/ab/{number:02d}.blob" for number in range(40)}
    for name in names:
        do.put(name, b"content", readers=[])
    listing = do.list(f"{FOLDER}/objects/ab/")

    first = next(listing).name
    gone = set(sorted(names - {first})[::2])
    for name in gone:
        (datasites / name).unlink()

    assert {entry.name for entry in listing} == names - gone - {first}


def test_listing_ends_in_a_very_deep_tree(do: SyftBoxTransport, datasites: Path) -> None:
    path = datasites / DO
    for _ in range(60):
        path /= "d"
    path.mkdir(parents=True)
    (path / "one.blob").write_bytes(b"content")
    do.put(NAME, b"content", readers=[])

    assert [entry.name for entry in do.list(f"{DO}/")] == [NAME]


@pytest.mark.parametrize("prefix", ["../", "/", "", "..", f"{DO}/../../", "/etc/"])
def test_listing_outside_the_folder_finds_nothing(do: SyftBoxTransport, data_dir: Path, prefix: str) -> None:
    (data_dir / "secret.blob").write_bytes(b"secret")

    assert [entry.name for entry in do.list(prefix) if "secret" in entry.name or ".." in entry.name] == []


def test_file_of_a_terabyte_is_refused_unread(do: SyftBoxTransport, datasites: Path) -> None:
    path = datasites / REQUEST
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(TooLargeError, match=f"{1 << 40} bytes"):
        do.get(REQUEST, max_size=4_000_000)


def test_errors_leave_no_open_descriptor(do: SyftBoxTransport, datasites: Path, outside: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    make_pipe(datasites / f"{FOLDER}/objects/ab/pipe.blob")
    (datasites / f"{FOLDER}/objects/link").symlink_to(outside, target_is_directory=True)

    def broken() -> Iterator[bytes]:
        yield b"content"
        raise RuntimeError("no more")

    before = len(os.listdir("/proc/self/fd"))
    for work in (
        lambda: do.get(NAME, max_size=1),
        lambda: do.get(f"{FOLDER}/objects/ab/pipe.blob", max_size=SIZE),
        lambda: do.get(f"{FOLDER}/objects/ab/nothing.blob", max_size=SIZE),
        lambda: do.get(f"{FOLDER}/objects/link/one.blob", max_size=SIZE),
        lambda: do.put(NAME, b"other", readers=[DS]),
        lambda: do.put(f"{FOLDER}/objects/ab/new.blob", broken(), readers=[DS]),
        lambda: do.put(f"{FOLDER}/objects/link/new.blob", b"content", readers=[DS]),
        lambda: do.stat(f"{FOLDER}/objects/link/one.blob"),
        lambda: next(do.list(f"{FOLDER}/objects/link/")),
    ):
        with pytest.raises((TransportError, RuntimeError, StopIteration)):
            work()
    assert len(os.listdir("/proc/self/fd")) == before


# Writing


class Recorder(FileSystemEventHandler):
    """Collects the events that a sync daemon sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.changed = threading.Condition()

    def on_any_event(self, event: FileSystemEvent) -> None:
        with self.changed:
            paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
            self.seen.extend((event.event_type, path) for path in paths if not event.is_directory)
            self.changed.notify_all()

    def wait_for(self, kind: str, path: Path) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: (kind, str(path)) in self.seen, PATIENCE)


@pytest.fixture
def recorder(datasites: Path, do: SyftBoxTransport) -> Iterator[Recorder]:
    recorder = Recorder()
    observer = Observer()
    # The observer can miss an event in a folder that is new.
    for name in (REQUEST, PUSHED):
        (datasites / name).parent.mkdir(parents=True)
    observer.schedule(recorder, str(datasites), recursive=True)
    observer.start()
    yield recorder
    observer.stop()
    observer.join()


@pytest.mark.parametrize("size", [1, 10_000])
def test_last_event_is_a_write_on_the_final_name(
    open_transport: Open, recorder: Recorder, datasites: Path, size: int
) -> None:
    open_transport(DS).put(REQUEST, b"x" * size, readers=[DO])

    path = datasites / REQUEST
    recorder.wait_for("modified", path)
    kinds = [kind for kind, seen in recorder.seen if seen == str(path)]
    assert kinds.index("modified") > min(kinds.index(kind) for kind in ("created", "moved") if kind in kinds)
    assert path.stat().st_size == size


def test_lost_large_file_gets_no_second_write_event(
    do: SyftBoxTransport, recorder: Recorder, data_dir: Path, datasites: Path
) -> None:
    (data_dir / ".data").mkdir()
    do.put(PUSHED, b"x" * 40_000, readers=[DS])
    recorder.wait_for("modified", datasites / PUSHED)
    (datasites / PUSHED).unlink()
    recorder.wait_for("deleted", datasites / PUSHED)
    recorder.seen.clear()

    do.put(PUSHED, b"x" * 40_000, readers=[DS])
    do.put(REQUEST.replace(".request", ".response"), b"later", readers=[DS])

    recorder.wait_for("modified", datasites / REQUEST.replace(".request", ".response"))
    assert ("modified", str(datasites / PUSHED)) not in recorder.seen
    assert (datasites / PUSHED).read_bytes() == b"x" * 40_000


def test_objects_are_larger_where_no_daemon_worked(data_dir: Path) -> None:
    with contextlib.closing(SyftBoxTransport(data_dir, DO, large_parts=True)) as do:
        alone = do.properties
        assert alone.part_size == 16 << 20
        assert alone.pushed_message == 0

        (data_dir / ".data").mkdir()
        assert do.properties.part_size < alone.part_size
        assert do.properties.pushed_message > 0


def test_properties_follow_the_first_large_push(data_dir: Path) -> None:
    (data_dir / ".data").mkdir(parents=True)
    with contextlib.closing(SyftBoxTransport(data_dir, DO)) as do:
        unknown = do.properties
        do._pace.remember(PUSHED, unknown.probe_size)
        do._pace.forget(PUSHED, absent=False)
        fast = do.properties

    assert (unknown.part_size, unknown.pushed_message, unknown.probe_size) == (256 << 10, 32 << 20, 2 << 20)
    assert (fast.part_size, fast.pushed_message, fast.probe_size) == (2 << 20, 128 << 20, 0)
    assert unknown.inline_size == fast.inline_size


def test_properties_follow_a_slow_link(open_transport: Open, do: SyftBoxTransport, data_dir: Path) -> None:
    (data_dir / ".data").mkdir()
    fast = do.properties
    assert fast.inline_size < fast.pushed_size < 3_145_000
    clock = FakeClock()
    do._pace.close()
    do._pace = Pace(data_dir / ".syft_flwr_staging" / "pace", data_dir / ".data", clock)
    for name in ("one", "two"):
        clock.advance(60)
        do._pace.take_turn(name, 40_000, absent=True)
        do._pace.remember(name, 40_000)
        do._pace.forget(name, absent=True)

    slow = do.properties

    assert (slow.inline_size, slow.pushed_size, slow.pushed_message) == (32_768, 32_768, 0)
    assert (slow.part_size, slow.probe_size) == (256 << 10, 0)


def test_delivered_file_is_forgotten_by_its_deletion(do: SyftBoxTransport, data_dir: Path) -> None:
    (data_dir / ".data").mkdir()
    for _ in range(3):
        do.put(PUSHED, b"x" * 40_000, readers=[DS])
        do.delete(PUSHED)

    assert do.properties.pushed_message > 0


def test_push_into_a_removed_folder_is_not_lost(
    do: SyftBoxTransport, data_dir: Path, datasites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file gets its write event, in the folder that is made again."""
    (data_dir / ".data").mkdir()
    link, truncate = os.link, os.ftruncate
    removals = iter([True, False])
    announced: list[int] = []

    def remove_first(*arguments: object, **options: int) -> None:
        if next(removals):
            shutil.rmtree((datasites / PUSHED).parent)
        link(*arguments, **options)  # type: ignore[arg-type]

    do.put(f"{FOLDER}/objects/00/{'b' * 32}.blob", b"another", readers=[DS])
    do.delete(f"{FOLDER}/objects/00/{'b' * 32}.blob")
    monkeypatch.setattr(os, "link", remove_first)
    monkeypatch.setattr(os, "ftruncate", lambda fd, size: (announced.append(os.fstat(fd).st_ino), truncate(fd, size)))

    do.put(PUSHED, b"x" * 40_000, readers=[DS])

    assert (datasites / PUSHED).stat().st_ino in announced


def test_half_written_file_is_never_synced(open_transport: Open, recorder: Recorder, datasites: Path) -> None:
    ds = open_transport(DS)

    def slow() -> Iterator[bytes]:
        for _ in range(20):
            assert files_below(datasites) == set()
            yield b"x" * 10_000

    ds.put(REQUEST, slow(), readers=[DO])

    recorder.wait_for("modified", datasites / REQUEST)
    # A temporary file can appear if the daemon ignores its name.
    names = {str(Path(path).relative_to(datasites)) for _, path in recorder.seen}
    assert {name for name in names if not is_ignored(name)} == {REQUEST}


def test_unchanged_file_is_not_written_again(do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    before = (datasites / NAME).stat()

    do.put(NAME, b"content", readers=[DS])

    after = (datasites / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_files_are_not_writable_by_others(do: SyftBoxTransport, datasites: Path) -> None:
    umask = os.umask(0)
    try:
        do.put(NAME, b"content", readers=[DS])
        do.open_inbox(INBOX)
    finally:
        os.umask(umask)

    for path in (datasites / DO).rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_half_written_files_of_dead_processes_are_removed(data_dir: Path, open_transport: Open) -> None:
    alive = open_transport()
    (staging,) = (folder for folder in data_dir.iterdir() if folder.name != "datasites")
    (held,) = staging.iterdir()
    half = held / ".two.blob.0123456789ab.tmp"
    half.write_bytes(b"half")
    # A folder without a lock, as a killed process leaves it.
    abandoned = staging / "0123456789abcdef"
    abandoned.mkdir()
    (abandoned / ".one.blob.0123456789ab.tmp").write_bytes(b"half")

    open_transport()

    assert half.exists()
    assert not abandoned.exists()
    alive.close()
    assert not held.exists()


@pytest.mark.parametrize("name", [NAME, PUSHED, REQUEST, f"{FOLDER}/status/heartbeat.request"])
def test_folder_of_a_deleted_file_is_not_empty(open_transport: Open, datasites: Path, name: str) -> None:
    """The daemon would delete it, and would not watch the folder of the next file."""
    writer = open_transport(DS if name == REQUEST else DO)
    writer.put(name, b"content", readers=[DS])
    writer.delete(name)

    (kept,) = (datasites / name).parent.iterdir() if name == REQUEST else (datasites / name).parent.glob(".*")
    assert kept.name == ".syftkeep"
    assert kept.stat().st_size == 0
    assert is_ignored(f"{name.rpartition('/')[0]}/{kept.name}")
    assert [*writer.list(f"{name.rpartition('/')[0]}/")] == []


def test_removed_folder_is_made_again(do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[])
    do.delete(NAME)
    path = datasites / NAME
    while path.parent != datasites:
        path = path.parent
        shutil.rmtree(path)

    do.put(NAME, b"content", readers=[])

    assert do.get(NAME, max_size=SIZE) == b"content"


# A full or broken disk


def test_folder_removed_in_a_write_is_made_again(
    do: SyftBoxTransport, datasites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    removed: list[Path] = []

    def remove_once(*arguments: object, **options: int) -> None:
        folder = (datasites / NAME).parent
        if not removed:
            removed.append(folder)
            shutil.rmtree(folder)
        link(*arguments, **options)  # type: ignore[arg-type]

    do.put(f"{DO}/public/card.json", b"card", readers=["*"])
    monkeypatch.setattr(os, "link", remove_once)
    do.put(NAME, b"content", readers=[DS])
    assert removed
    assert do.get(NAME, max_size=100) == b"content"


def test_full_disk_is_an_error_and_leaves_nothing(small_disk: Path, open_transport: Open) -> None:
    do = open_transport(DO, small_disk)
    do.put(f"{FOLDER}/objects/ab/first.blob", b"x" * 1_000, readers=[DS])

    with pytest.raises(StorageFullError, match=r"one\.blob") as caught:
        do.put(NAME, (b"x" * 50_000 for _ in range(40)), readers=[DS])

    assert "Free disk space" in caught.value.hint
    assert caught.value.transient
    kept = {f"datasites/{FOLDER}/objects/{name}" for name in ("ab/first.blob", "syft.pub.yaml")}
    assert files_below(small_disk) == kept
    do.put(NAME, b"x" * 50_000, readers=[DS])
    assert len(do.get(NAME, max_size=SIZE)) == 50_000


def test_free_space_is_that_of_the_datasites(small_disk: Path, open_transport: Open) -> None:
    do = open_transport(DO, small_disk)
    before = do.free_space()

    do.put(NAME, b"x" * 50_000, readers=[DS])

    assert 0 < do.free_space() <= before - 50_000 < 256 << 10


def test_unknown_free_space_is_a_transport_error(do: SyftBoxTransport, datasites: Path) -> None:
    datasites.rmdir()

    with pytest.raises(TransportError):
        do.free_space()


@pytest.fixture
def failing_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that lets the n-th write from now fail with an error number."""
    write = os.write
    plan: list[int] = []

    def _write(fd: int, data: bytes) -> int:
        number = plan.pop(0) if plan else 0
        if number:
            raise OSError(number, os.strerror(number))
        return write(fd, data)

    monkeypatch.setattr(os, "write", _write)
    return lambda nth, number: plan.extend([0] * (nth - 1) + [number])


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, TransportError)],
)
def test_failed_write_leaves_nothing(
    do: SyftBoxTransport, data_dir: Path, failing_write: Callable[..., None], number: int, error: type[Exception]
) -> None:
    do.put(f"{FOLDER}/objects/ab/first.blob", b"content", readers=[DS])
    before = files_below(data_dir)
    failing_write(3, number)

    with pytest.raises(error, match=r"one\.blob"):
        do.put(NAME, iter([b"one", b"two", b"three"]), readers=[DS])

    assert files_below(data_dir) == before


def test_next_put_writes_missing_permissions(
    do: SyftBoxTransport, datasites: Path, failing_write: Callable[..., None]
) -> None:
    failing_write(1, errno.ENOSPC)
    with pytest.raises(StorageFullError):
        do.put(NAME, b"content", readers=[DS])
    assert files_below(datasites) == set()

    do.put(NAME, b"content", readers=[DS])

    assert DS in (datasites / FOLDER / "objects" / "syft.pub.yaml").read_text()


def test_short_write_is_continued(do: SyftBoxTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))

    do.put(NAME, iter([b"0123456789" * 10, memoryview(b"abc")]), readers=[])

    assert do.get(NAME, max_size=SIZE) == b"0123456789" * 10 + b"abc"


def test_failed_read_is_a_transport_error(do: SyftBoxTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    do.put(NAME, b"content", readers=[])
    opened = os.open

    def write_only(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        # A descriptor from which every read fails.
        return opened(path, os.O_WRONLY if str(path).endswith(".blob") else flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", write_only)
    with pytest.raises(TransportError, match=r"one\.blob"):
        do.get(NAME, max_size=SIZE)


# Permission files


MARK = "# Written by syft-flwr; it is rewritten as long as this line stands here.\n"


#: Files of a user in the forms in which people and programs write them.
THEIRS = [
    b"rules:\n- pattern: '**'\n  access:\n    read: ['friend@x.org']\n",
    b"rules :\n- pattern: '**'\n  access: {read: []}\n",
    b'{"rules": [{"pattern": "**", "access": {"read": []}}]}',
    b"\"rules\":\n- pattern: '**'\n  access: {read: []}\n",
    b"terminal: true\n",
    b"# no rules yet\n",
    b"\n" + MARK.encode() + b"rules: []\n",
    b"\xef\xbb\xbf" + MARK.encode(),
    MARK.encode().strip() + b" Not here.\n",
    b"\xff\xfe\x00" * 100,
    b" ",
    b"rules: [",
]


@pytest.mark.parametrize("theirs", THEIRS)
def test_users_permission_file_is_not_changed(open_transport: Open, datasites: Path, theirs: bytes) -> None:
    paths = [datasites / folder / "syft.pub.yaml" for folder in (f"{DO}/public", f"{FOLDER}/objects", INBOX)]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(theirs)
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
    do = open_transport(DO)

    do.put(f"{DO}/public/syft_flwr.json", b"card", readers=["*"])
    do.put(NAME, b"content", readers=[DS])
    do.open_inbox(INBOX)
    do.restore_permissions()

    assert [path.read_bytes() for path in paths] == [theirs] * 3
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] == before


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_permission_file_with_our_first_line_is_replaced(do: SyftBoxTransport, datasites: Path, ending: str) -> None:
    path = datasites / FOLDER / "objects" / "syft.pub.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(f"{MARK.strip()}{ending}terminal: true{ending}".encode())

    do.put(NAME, b"content", readers=[DS])

    assert f"read: ['{DS}']" in path.read_text()


def test_objects_have_one_permission_file(do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[DS, "o'neil@x.org"])
    do.put(f"{FOLDER}/objects/cd/two.blob", b"content", readers=[DS])

    text = (datasites / FOLDER / "objects" / "syft.pub.yaml").read_text()
    assert text == (
        f"{MARK}terminal: false\nrules:\n- pattern: '**'\n  access:\n    read: ['ds@x.org', 'o''neil@x.org']\n    write: []\n"
    )
    assert [path.parent.name for path in datasites.rglob("syft.pub.yaml")] == ["objects"]


@pytest.mark.parametrize("leaf", ["objects/ab/" + "a" * 32 + ".request", "status/heartbeat.request"])
def test_pushed_files_of_a_datasite_have_readers(do: SyftBoxTransport, datasites: Path, leaf: str) -> None:
    do.put(f"{FOLDER}/{leaf}", b"content", readers=[DS])

    assert f"'{DS}'" in (datasites / FOLDER / leaf.partition("/")[0] / "syft.pub.yaml").read_text()


def test_prepared_folder_has_its_readers_before_a_file(do: SyftBoxTransport, datasites: Path) -> None:
    do.prepare(f"{FOLDER}/objects/", [DS, OTHER])
    before = (datasites / FOLDER / "objects" / "syft.pub.yaml").stat()
    do.put(PUSHED, b"content", readers=[DS, OTHER])

    after = (datasites / FOLDER / "objects" / "syft.pub.yaml").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_inbox_permissions_name_no_participant(do: SyftBoxTransport, datasites: Path) -> None:
    do.open_inbox(INBOX)

    assert (datasites / INBOX / "syft.pub.yaml").read_text() == (
        f"{MARK}terminal: false\n"
        "rules:\n"
        "- pattern: '**/{{.UserEmail}}/*.request'\n"
        "  access:\n"
        "    read: ['USER']\n"
        "    write: ['USER']\n"
        "- pattern: '**/{{.UserEmail}}/*.response'\n"
        "  access:\n"
        "    read: ['USER']\n"
        "    write: ['USER']\n"
    )


def test_messages_have_no_permission_files(open_transport: Open, datasites: Path) -> None:
    open_transport(DS).put(REQUEST, b"asked", readers=[DO])
    open_transport(DO).put(REQUEST.replace(".request", ".response"), b"answered", readers=[DS])

    assert list(datasites.rglob("syft.pub.yaml")) == []


def test_permissions_of_others_are_not_written(open_transport: Open, datasites: Path) -> None:
    open_transport(OTHER).put(NAME, b"content", readers=[OTHER, "*"])

    assert list(datasites.rglob("syft.pub.yaml")) == []


def test_readers_are_kept_after_a_restart(open_transport: Open, datasites: Path) -> None:
    open_transport(DO).put(NAME, b"content", readers=[DS, "o'neil@x.org"])

    open_transport(DO).put(f"{FOLDER}/objects/cd/two.blob", b"content", readers=[OTHER])

    text = (datasites / FOLDER / "objects" / "syft.pub.yaml").read_text()
    assert "    read: ['ds@x.org', 'o''neil@x.org', 'other@z.org']\n" in text


def test_unchanged_permissions_are_not_written_again(open_transport: Open, datasites: Path) -> None:
    path = datasites / FOLDER / "objects" / "syft.pub.yaml"
    open_transport(DO).put(NAME, b"content", readers=[DS, OTHER])
    before = path.stat()

    again = open_transport(DO)
    again.put(f"{FOLDER}/objects/cd/two.blob", b"content", readers=[DS])
    again.open_inbox(INBOX)
    again.open_inbox(INBOX)

    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_deleted_permission_files_are_written_again(do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    do.open_inbox(INBOX)
    before = {path: path.read_text() for path in datasites.rglob("syft.pub.yaml")}
    shutil.rmtree(datasites / DO / "app_data")

    do.restore_permissions()

    assert len(before) == 2
    assert {path: path.read_text() for path in datasites.rglob("syft.pub.yaml")} == before


def test_present_permission_files_are_not_restored(do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    path = datasites / FOLDER / "objects" / "syft.pub.yaml"
    path.write_text("rules: []\n")

    do.restore_permissions()

    assert path.read_text() == "rules: []\n"


def make_empty(path: Path) -> None:
    path.touch()


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(MARK.encode())
        file.truncate(1 << 30)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_a_file(path: Path) -> None:
    target = path.with_name("target.yaml")
    target.write_text(MARK)
    path.symlink_to(target)


@pytest.mark.parametrize("make", [make_huge, make_dangling_link, make_link_to_a_file, make_folder, make_pipe])
def test_thing_in_place_of_permissions_is_kept(
    do: SyftBoxTransport, datasites: Path, make: Callable[[Path], None]
) -> None:
    paths = [datasites / folder / "syft.pub.yaml" for folder in (f"{FOLDER}/objects", INBOX)]
    for path in paths:
        path.parent.mkdir(parents=True)
        make(path)
    before = [(path.lstat().st_ino, path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths]

    do.put(NAME, b"content", readers=[DS])
    do.open_inbox(INBOX)
    do.restore_permissions()

    assert [(path.lstat().st_ino, path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths] == before
    assert do.get(NAME, max_size=SIZE) == b"content"


def test_empty_permission_file_is_replaced(do: SyftBoxTransport, datasites: Path) -> None:
    """SyftBox takes an empty file for a missing one, too."""
    for folder in (f"{FOLDER}/objects", INBOX):
        (datasites / folder).mkdir(parents=True)
        make_empty(datasites / folder / "syft.pub.yaml")

    do.put(NAME, b"content", readers=[DS])
    do.open_inbox(INBOX)
    # A program that makes a file writes its content right after.
    assert [(datasites / folder / "syft.pub.yaml").read_bytes() for folder in (f"{FOLDER}/objects", INBOX)] == [
        b"",
        b"",
    ]
    for folder in (f"{FOLDER}/objects", INBOX):
        os.utime(datasites / folder / "syft.pub.yaml", (1, 1))
    do.restore_permissions()

    assert DS in (datasites / FOLDER / "objects" / "syft.pub.yaml").read_text()
    assert "USER" in (datasites / INBOX / "syft.pub.yaml").read_text()


@pytest.mark.parametrize("foreign", ["a folder", "a link", "a file"])
def test_foreign_entries_of_the_staging_folder_stay(
    open_transport: Open, data_dir: Path, tmp_path: Path, foreign: str
) -> None:
    staging = data_dir / ".syft_flwr_staging"
    staging.mkdir(parents=True)
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    path = staging / ("0123456789abcdef" if foreign == "a link" else "backup")
    if foreign == "a folder":
        target.rename(path)
    elif foreign == "a link":
        path.symlink_to(target)
    else:
        path.write_text("mine")
    (staging / "fedcba9876543210").mkdir()

    open_transport(DO)

    assert not (staging / "fedcba9876543210").exists()
    kept = path if foreign == "a file" else path / "mine"
    assert kept.read_text() == "mine"


# Deleted folders


def test_failed_write_names_the_deleted_staging_folder(do: SyftBoxTransport, data_dir: Path) -> None:
    shutil.rmtree(data_dir / ".syft_flwr_staging")

    with pytest.raises(
        NotFoundError, match=r"the folder \.syft_flwr_staging was deleted, so .* cannot be written"
    ) as raised:
        do.put(NAME, b"content", readers=[DS])
    assert raised.value.hint


def test_failed_write_names_the_deleted_datasites(do: SyftBoxTransport, datasites: Path) -> None:
    shutil.rmtree(datasites)

    with pytest.raises(NotFoundError, match="the folder datasites was deleted") as raised:
        do.put(NAME, b"content", readers=[DS])
    assert raised.value.hint


def test_failed_write_names_the_file_in_a_folders_place(do: SyftBoxTransport, datasites: Path) -> None:
    (datasites / DO).mkdir()
    (datasites / DO / "app_data").touch()

    with pytest.raises(NotFoundError, match=f"the folder {DO}/app_data was deleted, or is no folder"):
        do.put(NAME, b"content", readers=[DS])


# Events


@pytest.mark.parametrize("kind", ["rejected", "conflict", "syftrejected", "syftconflict"])
@pytest.mark.parametrize("moment", ["", ".20300102030405"])
def test_marker_is_recognised_with_or_without_a_time(kind: str, moment: str) -> None:
    stem = "0" * 32

    for suffix in ("request", "response", "blob"):
        assert unmarked(f"a/{stem}.{kind}{moment}.{suffix}") == f"a/{stem}.{suffix}"
    assert unmarked(f"a/{stem}.{kind}.txt") == f"a/{stem}.{kind}.txt"
    assert unmarked(f"a.{kind}.b/{stem}.request") == f"a.{kind}.b/{stem}.request"


@pytest.mark.parametrize("marker", list(Marker))
def test_marked_file_is_reported_by_its_original_name(open_transport: Open, datasites: Path, marker: Marker) -> None:
    """Only a rejected file is refused. A conflict copy only means that the file is missing."""
    ds = open_transport(DS)
    with ds.watch([f"{DO}/"]) as watch:
        ds.put(REQUEST, b"asked", readers=[DO])
        assert not ds.refused(REQUEST)
        (datasites / REQUEST).rename(datasites / marked(REQUEST, marker))

        assert REQUEST in watch.wait(PATIENCE)
        assert ds.refused(REQUEST) == (marker is Marker.REJECTED)


def test_refused_file_is_found_without_a_listing(
    open_transport: Open, datasites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer decides how many files its folder has, and each scan looks at each open request."""

    def refuse(*_: object) -> None:
        raise AssertionError("a folder of a peer is listed")

    ds = open_transport(DS)
    ds.put(REQUEST, b"asked", readers=[DO])
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        patch.setattr(os, "scandir", refuse)
        assert not ds.refused(REQUEST)
        (datasites / REQUEST).rename(datasites / marked(REQUEST, Marker.REJECTED))
        assert ds.refused(REQUEST)


def test_deletion_of_a_refused_file_deletes_older_ones(open_transport: Open, datasites: Path) -> None:
    ds = open_transport(DS)
    ds.put(REQUEST, b"asked", readers=[DO])
    (datasites / REQUEST).rename(datasites / marked(REQUEST, Marker.REJECTED))
    (datasites / marked(REQUEST, Marker.REJECTED, datetime(2030, 1, 2, tzinfo=UTC))).write_bytes(b"asked")
    (datasites / REQUEST).with_name("other.rejected.request").write_bytes(b"asked")
    assert ds.refused(REQUEST)

    ds.delete(REQUEST)

    assert [path.name for path in (datasites / REQUEST).parent.glob("*.request")] == ["other.rejected.request"]


def test_only_conflict_copies_are_deleted(open_transport: Open, datasites: Path) -> None:
    ds = open_transport(DS)
    ds.put(REQUEST, b"asked", readers=[DO])
    folder = (datasites / REQUEST).parent
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    copies = [marked(REQUEST, Marker.CONFLICT), marked(REQUEST, Marker.CONFLICT, moment)]
    others = [REQUEST, marked(REQUEST, Marker.REJECTED), f"{REQUEST}.txt"]
    for name in (*copies, *others):
        (datasites / name).write_bytes(b"asked")
    (folder / "aa").mkdir()
    (folder / "aa" / f"{'c' * 32}.conflict.blob").write_bytes(b"old")
    folders = [f"{'d' * 32}.conflict.request", f"{'d' * 32}.conflict.blob"]
    for name in folders:
        (folder / name).mkdir()
    of_the_user = ["notes.conflict.request", f"{'e' * 31}.conflict.blob", "x.rejected.response"]
    for name in of_the_user:
        (folder / name).write_bytes(b"mine")

    ds.delete_conflicts(f"{REQUEST.rpartition('/')[0]}/", most=100)
    ds.delete_conflicts(f"{DO}/not/there/", most=100)

    kept = {name.rpartition("/")[2] for name in others}
    assert {Path(path).name for path in files_below(folder)} == kept.union(of_the_user)
    assert all((folder / name).is_dir() for name in folders)


def test_refused_file_of_a_peer_is_a_copy(open_transport: Open, datasites: Path) -> None:
    """A client that was killed can take a received file for one of its user. The server refuses it."""
    ds = open_transport(DS)
    own = PUSHED.replace(DO, DS)
    for name in (PUSHED, own):
        path = datasites / marked(name, Marker.REJECTED)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"content")

    for owner in (DO, DS):
        ds.delete_conflicts(f"{FOLDER.replace(DO, owner)}/objects/", most=100)

    assert files_below(datasites) == {marked(own, Marker.REJECTED)}


@pytest.mark.parametrize("kind", ["empty", "foreign", "folders"])
def test_listing_with_too_many_other_entries_ends(
    open_transport: Open, datasites: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A peer decides how many of them are in its datasite."""
    monkeypatch.setattr(folder_listing, "_MOST_OTHERS", 11)
    ds = open_transport(DS)
    folder = (datasites / REQUEST).parent
    ds.put(REQUEST, b"asked", readers=[DO])
    (folder / "aa").mkdir()
    (folder / "aa" / "late.request").write_bytes(b"asked")
    for number in range(9):
        (folder / f"{number}.tmp").write_bytes(b"")
    prefix = f"{REQUEST.rpartition('/')[0]}/"
    assert len([*ds.list(prefix)]) == 2
    for number in range(9, 12):
        other = folder / f"{number}{'.tmp' if kind == 'foreign' else '.request'}"
        other.mkdir() if kind == "folders" else other.write_bytes(b"x" if kind == "foreign" else b"")
    assert len([*ds.list(prefix)]) <= 1


def test_search_for_conflict_copies_is_bounded(open_transport: Open, datasites: Path) -> None:
    """A peer decides how many files and folders are in its datasite."""
    ds = open_transport(DS)
    folder = (datasites / REQUEST).parent
    deep = folder / "aa" / "bb"
    deep.mkdir(parents=True)
    for place in (folder, folder / "aa", deep):
        for number in range(20):
            (place / f"{number:032x}.conflict.request").write_bytes(b"old")

    def left() -> list[int]:
        ds.delete_conflicts(f"{REQUEST.rpartition('/')[0]}/", most=15)
        return [len([*place.glob("*.request")]) for place in (folder, folder / "aa", deep)]

    assert sum(left()) >= 45
    for _ in range(10):
        found = left()
    assert found == [0, 0, 20]


def test_deleting_a_refused_file_deletes_its_marker(open_transport: Open, datasites: Path) -> None:
    ds = open_transport(DS)
    other = REQUEST.replace("0" * 32, "1" * 32)
    for name in (REQUEST, other):
        ds.put(name, b"asked", readers=[DO])
        (datasites / name).rename(datasites / marked(name, Marker.REJECTED))
    assert ds.refused(REQUEST)

    ds.delete(REQUEST)

    assert not ds.refused(REQUEST)
    assert ds.refused(other)


def test_own_writes_are_not_reported(open_transport: Open, do: SyftBoxTransport) -> None:
    ds = open_transport(DS)
    last = f"{FOLDER}/objects/zz/last.blob"
    with do.watch([f"{DO}/"]) as watch:
        do.put(NAME, b"content", readers=[])
        ds.put(last, b"content", readers=[])
        seen = set()
        while last not in seen:
            seen |= watch.wait(PATIENCE)

    assert seen == {last}


def test_undecodable_names_do_not_end_the_watch(open_transport: Open, do: SyftBoxTransport, datasites: Path) -> None:
    ds = open_transport(DS)
    folder = datasites / INBOX
    folder.mkdir(parents=True)
    with do.watch([f"{DO}/"]) as watch:
        (folder / os.fsdecode(b"not-\xff-utf8.request")).write_bytes(b"foreign")
        (folder / "with space.request").write_bytes(b"foreign")
        ds.put(REQUEST, b"asked", readers=[DO])

        assert watch.wait(PATIENCE) == {REQUEST}


def test_moved_folder_is_reported_file_by_file(do: SyftBoxTransport, datasites: Path, tmp_path: Path) -> None:
    arriving = tmp_path / "arriving" / "ab"
    arriving.mkdir(parents=True)
    (arriving / "one.blob").write_bytes(b"content")
    (datasites / FOLDER).mkdir(parents=True)
    with do.watch([f"{DO}/"]) as watch:
        arriving.parent.rename(datasites / FOLDER / "objects")

        assert NAME in watch.wait(PATIENCE)


TABLE = """\
/dev/root / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/anna/fast\\040disk ext4 rw 0 0
systemd-1 /mnt/share autofs rw 0 0
//server/share /mnt/share cifs rw 0 0
anna@host: /mnt/cloud fuse.sshfs rw 0 0
overlay /var/lib/box overlay rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/srv/data", True),
        ("/home", False),
        ("/home/ben/SyftBox", False),
        ("/homework", True),
        ("/home/anna/fast disk/SyftBox", True),
        ("/home/anna/fast", False),
        ("/mnt/share/SyftBox", False),
        ("/mnt/cloud/SyftBox", False),
        ("/var/lib/box/data", True),
    ],
)
def test_nearest_mount_decides_about_events(tmp_path: Path, folder: str, expected: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(TABLE)

    assert gives_events(Path(folder), mounts) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *(
            (kind, False)
            for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuse.rclone", "fuseblk", "virtiofs")
        ),
        *((kind, True) for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "apfs")),
    ],
)
def test_only_local_file_systems_give_events(tmp_path: Path, kind: str, expected: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"something / {kind} rw 0 0\n")

    assert gives_events(tmp_path, mounts) is expected


def test_events_are_expected_without_a_mount_table(tmp_path: Path) -> None:
    assert gives_events(tmp_path, tmp_path / "nothing")


def test_polling_is_logged_once(do: SyftBoxTransport, without_events: Callable[[], None], logged: list[str]) -> None:
    without_events()
    for _ in range(3):
        with do.watch([f"{DO}/"]):
            pass

    assert len([line for line in logged if "no change events; polling instead" in line]) == 1
    assert not do.properties.pushes_events


def test_polling_replaces_missing_inotify_watches(
    do: SyftBoxTransport, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def no_room(self: Inotify, path: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Inotify, "add", no_room)
    threads = set(threading.enumerate())
    with do.watch([f"{DO}/"]) as watch:
        assert not do.properties.pushes_events
        watch.wake()
        assert watch.wait(None) == set()
    assert any("Raise fs.inotify.max_user_watches" in line for line in logged)
    assert set(threading.enumerate()) == threads


def test_close_ends_all_threads_and_can_be_repeated(open_transport: Open) -> None:
    before = set(threading.enumerate())
    transport = open_transport(OTHER)
    with transport.watch([f"{DO}/"]), transport.watch([f"{DS}/"]):
        assert set(threading.enumerate()) - before
    transport.close()
    transport.close()

    assert set(threading.enumerate()) - before == set()


def test_delete_ignores_a_folder_in_place_of_a_file(do: SyftBoxTransport, datasites: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    (datasites / NAME).unlink()
    (datasites / NAME / "x").mkdir(parents=True)

    do.delete(NAME)

    assert (datasites / NAME / "x").is_dir()
