"""The watched tree reports the files of awaited folders, however many and deep folders other participants make."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deep_folders import nested
from waiting import eventually

from syft_flwr.transport import inotify, watched_tree
from syft_flwr.transport.inotify import Inotify, KernelEvent
from syft_flwr.transport.watched_tree import WatchedTree

PEER, OTHER, STRANGER = "peer@x.org", "other@x.org", "stranger@x.org"
PREFIX, PUBLIC = f"{PEER}/app_data/", f"{OTHER}/public/"


class Seen:
    """The reported files, and the number of gaps."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bool]] = []
        self.gaps = 0
        self.error: Exception | None = None

    def file(self, name: str, appeared: bool) -> None:
        if self.error:
            raise self.error
        self.files.append((name, appeared))

    def gap(self) -> None:
        self.gaps += 1

    def await_file(self, name: str, *, appeared: bool = True) -> None:
        eventually(lambda: (name, appeared) in self.files, f"a report of {name}")


@pytest.fixture
def seen() -> Seen:
    return Seen()


Open = Callable[[], WatchedTree]


@pytest.fixture
def open_tree(tmp_path: Path, seen: Seen) -> Iterator[Open]:
    opened: list[WatchedTree] = []

    def open_one() -> WatchedTree:
        opened.append(WatchedTree(str(tmp_path), seen.file, seen.gap))
        opened[-1].await_below([PREFIX, f"{PUBLIC}card"])
        return opened[-1]

    yield open_one
    for tree in opened:
        tree.close()


def write(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def watched(tree: WatchedTree) -> list[str]:
    return sorted(tree._folders)


def test_file_in_new_folders_is_reported(tmp_path: Path, open_tree: Open, seen: Seen) -> None:
    open_tree()
    write(tmp_path, f"{PREFIX}a/b/c/file")
    seen.await_file(f"{PREFIX}a/b/c/file")
    (tmp_path / PREFIX / "a/b/c/file").unlink()
    seen.await_file(f"{PREFIX}a/b/c/file", appeared=False)
    shutil.rmtree(tmp_path / PEER)
    write(tmp_path, f"{PREFIX}a/again")
    seen.await_file(f"{PREFIX}a/again")


def test_files_of_a_moved_folder_have_new_names(tmp_path: Path, open_tree: Open, seen: Seen) -> None:
    open_tree()
    write(tmp_path, f"{PREFIX}old/inner/file")
    seen.await_file(f"{PREFIX}old/inner/file")
    (tmp_path / PREFIX / "old").rename(tmp_path / PREFIX / "new")
    seen.await_file(f"{PREFIX}new/inner/file")
    write(tmp_path, f"{PREFIX}new/inner/later")
    seen.await_file(f"{PREFIX}new/inner/later")
    (tmp_path / PREFIX / "new").rename(tmp_path / "outside")
    write(tmp_path, "outside/inner/unseen")
    write(tmp_path, f"{PREFIX}last")
    seen.await_file(f"{PREFIX}last")
    assert not [name for name, _ in seen.files if name.endswith("unseen")]


def test_only_folders_on_the_way_are_watched(tmp_path: Path, open_tree: Open, seen: Seen) -> None:
    for folder in (
        f"{STRANGER}/public",
        f"{PEER}/other",
        f"{PREFIX}a",
        f"{OTHER}/public/inner",
        f"{OTHER}/publications",
    ):
        (tmp_path / folder).mkdir(parents=True)
    tree = open_tree()
    expected = ["", f"{OTHER}/", f"{PUBLIC}", f"{PUBLIC}inner/", f"{PEER}/", PREFIX, f"{PREFIX}a/"]
    assert watched(tree) == expected
    write(tmp_path, f"{STRANGER}/public/new/file")
    write(tmp_path, f"{PREFIX}file")
    seen.await_file(f"{PREFIX}file")
    assert watched(tree) == expected


@pytest.mark.parametrize("before", [True, False])
def test_very_deep_folders_end_no_watch(tmp_path: Path, open_tree: Open, seen: Seen, before: bool) -> None:
    tree = None if before else open_tree()
    with nested([tmp_path / PREFIX, tmp_path / STRANGER], 1_200) as (last, _):
        tree = tree or open_tree()
        (last / "file").write_bytes(b"x")
        write(tmp_path, f"{PUBLIC}card.json")
        seen.await_file(f"{PUBLIC}card.json")
        eventually(lambda: len(watched(tree)) == 5 + 16, "all watches")
        (tmp_path / PREFIX / "d").rename(tmp_path / PREFIX / "e")
        write(tmp_path, f"{PUBLIC}second.json")
        seen.await_file(f"{PUBLIC}second.json")
        assert not tree.falls_short


@pytest.mark.parametrize("before", [True, False])
def test_flood_of_folders_hides_no_other_prefix(
    tmp_path: Path, open_tree: Open, seen: Seen, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_tree, "_MOST_FOLDERS", 50)
    calls: list[str] = []
    add = Inotify.add

    def counted(self: Inotify, path: str) -> int:
        calls.append(path)
        return add(self, path)

    monkeypatch.setattr(Inotify, "add", counted)
    tree = None if before else open_tree()
    for number in range(1_000):
        (tmp_path / PREFIX / f"w{number}").mkdir(parents=True)
        (tmp_path / f"{number}{STRANGER}").mkdir()
    tree = tree or open_tree()
    write(tmp_path, f"{PUBLIC}card.json")
    seen.await_file(f"{PUBLIC}card.json")
    assert sum(folder.startswith(PREFIX) for folder in watched(tree)) == 50
    assert len(calls) < 100
    shutil.rmtree(tmp_path / PEER)
    write(tmp_path, f"{PREFIX}one/file")
    seen.await_file(f"{PREFIX}one/file")


def test_walk_looks_at_a_bounded_number_of_files(
    tmp_path: Path, open_tree: Open, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_tree, "_MOST_ENTRIES", 30)
    open_tree()
    arriving = tmp_path / "arriving"
    for number in range(100):
        write(arriving, f"flood/{number}")
    (tmp_path / PREFIX).mkdir(parents=True)
    (arriving / "flood").rename(tmp_path / PREFIX / "flood")
    write(tmp_path, f"{PUBLIC}card.json")
    seen.await_file(f"{PUBLIC}card.json")
    # The folder itself is one of the entries, if the walk began above it.
    assert len({name for name, _ in seen.files if name.startswith(f"{PREFIX}flood/")}) in (29, 30)


def test_folder_with_the_longest_prefix_counts_to_it(
    tmp_path: Path, open_tree: Open, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_tree, "_MOST_FOLDERS", 10)
    tree = open_tree()
    tree.await_below([f"{PREFIX}mine/"])
    for number in range(100):
        (tmp_path / PREFIX / f"w{number}").mkdir(parents=True)
    write(tmp_path, f"{PREFIX}mine/file")
    seen.await_file(f"{PREFIX}mine/file")


def test_links_are_not_followed(tmp_path: Path, open_tree: Open, seen: Seen) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / PEER).mkdir()
    (tmp_path / PREFIX).symlink_to(outside)
    tree = open_tree()
    write(tmp_path, f"{PUBLIC}card.json")
    write(outside, "file")
    seen.await_file(f"{PUBLIC}card.json")
    assert not [folder for folder in watched(tree) if folder.startswith(PREFIX)]
    assert not [name for name, _ in seen.files if name.startswith(PREFIX)]


def test_lost_events_are_followed_by_a_look(tmp_path: Path, open_tree: Open, seen: Seen) -> None:
    tree = open_tree()
    write(tmp_path, f"{PREFIX}a/file")
    seen.await_file(f"{PREFIX}a/file")
    before = watched(tree)
    tree._handle(KernelEvent(-1, inotify.OVERFLOW, ""))
    assert (seen.gaps, watched(tree)) == (1, before)
    write(tmp_path, f"{PREFIX}a/second")
    seen.await_file(f"{PREFIX}a/second")


def test_missing_watches_of_the_system_are_told_once(
    tmp_path: Path, open_tree: Open, seen: Seen, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    add = Inotify.add

    def full(self: Inotify, path: str) -> int:
        if path.endswith("/full"):
            raise OSError(28, "No space left on device")
        return add(self, path)

    monkeypatch.setattr(Inotify, "add", full)
    tree = open_tree()
    for name in ("a", "b"):
        (tmp_path / PREFIX / name / "full").mkdir(parents=True)
    eventually(lambda: tree.falls_short, "the missing watches")
    write(tmp_path, f"{PUBLIC}card.json")
    seen.await_file(f"{PUBLIC}card.json")
    assert len([line for line in logged if "cannot watch all folders" in line]) == 1


def test_error_in_the_thread_is_told_and_files_are_polled(
    tmp_path: Path, open_tree: Open, seen: Seen, logged: list[str]
) -> None:
    tree = open_tree()
    seen.error = RuntimeError("the cause")
    write(tmp_path, f"{PREFIX}file")
    eventually(lambda: seen.gaps, "the end of the thread")
    assert tree.falls_short
    assert any("folder-events met an error" in line and "the cause" in line for line in logged)


@pytest.mark.parametrize("how", ["deleted", "lost events"])
def test_lost_root_is_told_and_files_are_polled(
    tmp_path: Path, open_tree: Open, logged: list[str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = open_tree()
    assert not tree.falls_short
    if how == "deleted":
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
    else:
        monkeypatch.setattr(tree, "_root", str(tmp_path / "missing"))
        tree._handle(KernelEvent(-1, inotify.OVERFLOW, ""))
    eventually(lambda: tree.falls_short, "the loss of the root")
    tree.await_below([PREFIX])
    eventually(lambda: any("is watched no longer" in line for line in logged), "a warning")
    assert len([line for line in logged if "polling instead" in line]) == 1


def test_unwatchable_root_leaves_nothing(tmp_path: Path, seen: Seen) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        WatchedTree(str(tmp_path / "missing"), seen.file, seen.gap)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert "folder-events" not in {thread.name for thread in threading.enumerate()}
