"""The faithful SyftBox emulator: folders that a client empties, removes and does not watch again."""

import shutil
from pathlib import Path

import pytest
from faithful_syftbox import BOX, DO, DS, Machines, Start

from syft_flwr.emulators.syftbox import How, SyncOutcome
from syft_flwr.emulators.syftbox.faithful.emptied_folders import remove_emptied

DEEP = f"{BOX}/deep/er"
MESSAGE = f"{DEEP}/a.request"


@pytest.fixture
def deep(machines: Machines) -> Machines:
    """Return machines on which both clients watch a folder."""
    for email in (DS, DO):
        machines.world.kill(email)
        machines.at(email, DEEP).mkdir(parents=True, exist_ok=True)
        assert machines.world.restart(email)
    return machines


def remake(machines: Machines, email: str, folder: str) -> None:
    """Remove a folder with its content, and make it again."""
    shutil.rmtree(machines.at(email, folder))
    machines.at(email, folder).mkdir(parents=True)


def assert_only_a_scan_carries(machines: Machines, name: str) -> None:
    """Write a file at the aggregator, and check that no push carries it."""
    # The watcher of the emulator itself sees the new folders, then the file.
    assert machines.world._watcher.flush(20)
    machines.put(DS, name)
    assert machines.world._watcher.flush(20)
    machines.world._wait_until_idle(float("inf"))
    assert name not in machines.world.journal(DS)
    machines.scan(DS)
    machines.scan(DO)
    records = machines.network.traffic.records(name, outcome=SyncOutcome.DELIVERED)
    assert {record.how for record in records} == {How.SCAN}


def test_folder_made_again_is_not_watched(deep: Machines) -> None:
    remake(deep, DS, DEEP)

    assert_only_a_scan_carries(deep, MESSAGE)


def test_folder_in_a_folder_made_again_is_not_watched(deep: Machines) -> None:
    remake(deep, DS, f"{BOX}/deep")
    deep.at(DS, f"{BOX}/deep/new").mkdir()

    assert_only_a_scan_carries(deep, f"{BOX}/deep/new/a.request")


def test_new_folder_beside_a_removed_one_is_watched(deep: Machines) -> None:
    remake(deep, DS, DEEP)
    deep.at(DS, f"{BOX}/deeper").mkdir()

    deep.wait_for_watches(DS, f"{BOX}/deeper")


def test_other_client_still_watches_its_folder(deep: Machines) -> None:
    remake(deep, DS, DEEP)

    deep.push(DO, f"{DEEP}/b.response")


def test_restarted_client_watches_the_folder_again(deep: Machines) -> None:
    remake(deep, DS, DEEP)
    deep.world.kill(DS)
    assert deep.world.restart(DS)

    deep.push(DS, MESSAGE)


def test_folder_removed_while_the_client_is_down_is_watched(deep: Machines) -> None:
    deep.world.kill(DS)
    shutil.rmtree(deep.at(DS, DEEP))
    assert deep.world.restart(DS)
    deep.at(DS, DEEP).mkdir()

    deep.wait_for_watches(DS, DEEP)


def exchange_and_delete(deep: Machines) -> None:
    """Push a message, and let its reader delete it on both machines."""
    deep.push(DS, MESSAGE)
    deep.arrives(DO, MESSAGE)
    deep.is_stored(MESSAGE)
    deep.at(DO, MESSAGE).unlink()
    deep.scan(DO)
    deep.scan(DS)


def test_emptied_folder_is_made_again_without_a_watch(deep: Machines) -> None:
    exchange_and_delete(deep)
    assert not deep.has(DS, f"{BOX}/deep")

    deep.at(DS, DEEP).mkdir(parents=True)

    assert_only_a_scan_carries(deep, f"{DEEP}/b.request")


def test_kept_folder_stays_watched(deep: Machines) -> None:
    deep.put(DS, f"{DEEP}/.syftkeep", b"")
    exchange_and_delete(deep)

    deep.push(DS, MESSAGE, b"second")


@pytest.mark.parametrize("data", [b"", b"keep"])
def test_keeping_file_is_never_synced(machines: Machines, data: bytes) -> None:
    name = f"{BOX}/.syftkeep"
    machines.put(DO, name, data)

    machines.network.settle()

    assert name not in machines.world.stored() | set(machines.world.journal(DO))
    assert not machines.has(DS, name)
    assert machines.has(DO, name)


def test_folders_go_after_the_last_deletion(start_faithful: Start) -> None:
    machines = start_faithful()
    names = [f"{DEEP}/{number}.blob" for number in range(3)]
    machines.at(DO, DEEP).mkdir(parents=True)
    for name in names:
        machines.put(DO, name)
    machines.scan(DO)
    machines.scan(DS)
    for name in names:
        machines.at(DO, name).unlink()
    machines.scan(DO)

    machines.scan(DS)

    assert not machines.has(DS, f"{BOX}/deep")
    assert machines.has(DO, DEEP)


def make_folder(root: Path, *entries: str) -> Path:
    folder = root / "a" / "b"
    folder.mkdir(parents=True)
    for entry in entries:
        (folder / entry).write_bytes(b"")
    return folder


def test_all_empty_parents_below_the_root_are_removed(tmp_path: Path) -> None:
    make_folder(tmp_path)

    remove_emptied(tmp_path, "a/b")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entry", [".syftkeep", "a.tmp", "Thumbds.db"])
def test_any_file_keeps_its_folder(tmp_path: Path, entry: str) -> None:
    folder = make_folder(tmp_path, entry)

    remove_emptied(tmp_path, "a/b")

    assert (folder / entry).exists()


def test_empty_folder_keeps_its_parent(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)

    remove_emptied(tmp_path, "a")

    assert folder.is_dir()


def test_garbage_is_deleted_and_its_folder_stays_once(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ".DS_Store", "Thumbs.db")

    remove_emptied(tmp_path, "a/b")
    assert list(folder.iterdir()) == []
    remove_emptied(tmp_path, "a/b")

    assert not (tmp_path / "a").exists()


def test_missing_folder_ends_the_removal(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    remove_emptied(tmp_path, "a/b")

    assert (tmp_path / "a").is_dir()


def test_link_to_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / ".DS_Store").write_bytes(b"")
    (tmp_path / "link").symlink_to("target")

    remove_emptied(tmp_path, "link")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target" / ".DS_Store").exists()
