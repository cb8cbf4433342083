"""The faithful SyftBox emulator: the cycle of a client, with each of its races held open."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deep_folders import nested
from faithful_syftbox import BOX, DO, DS, Machines, Start
from waiting import eventually

from syft_flwr.emulators.syftbox import How, SyncOutcome
from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.emulators.syftbox.faithful.disk_walk import DiskWalk, LocalFile
from syft_flwr.emulators.syftbox.faithful.object_store import StoredObject
from syft_flwr.emulators.syftbox.faithful.reconcile import reconcile
from syft_flwr.emulators.syftbox.write_watcher import WriteWatcher
from syft_flwr.errors import TransportError

MESSAGE = f"{BOX}/a.request"
FILE = f"{BOX}/a.blob"
OWN = f"{DO}/public/a.txt"


def local(etag: str | None) -> dict[str, LocalFile]:
    return {FILE: LocalFile(etag, 1, 0)} if etag else {}


def remote(etag: str | None) -> dict[str, StoredObject]:
    return {FILE: StoredObject(etag, 1, DS, "blob")} if etag else {}


@pytest.mark.parametrize(
    ("here", "there", "known", "action"),
    [
        ("a", None, None, "uploads"),
        ("b", "a", "a", "uploads"),
        ("b", None, "a", "uploads"),
        (None, "a", None, "downloads"),
        ("a", "b", "a", "downloads"),
        (None, "b", "a", "downloads"),
        (None, "a", "a", "remote_deletions"),
        ("a", None, "a", "local_deletions"),
        ("a", "a", None, "conflicts"),
        ("a", "b", None, "conflicts"),
        ("b", "c", "a", "conflicts"),
        ("b", "b", "a", "conflicts"),
        (None, None, "a", "forgotten"),
        ("a", "a", "a", None),
    ],
)
def test_decision_as_in_syftbox(here: str | None, there: str | None, known: str | None, action: str | None) -> None:
    plan = reconcile(local(here), remote(there), {FILE: known} if known else {}, lambda _: False)

    assert len(plan) == (1 if action else 0)
    assert action is None or getattr(plan, action) == [FILE]


def test_empty_ignored_and_busy_files_are_left_out() -> None:
    files = {"o@x.org/a": LocalFile("a", 0, 0), "o@x.org/b.log": LocalFile("a", 1, 0), FILE: LocalFile("a", 1, 0)}

    assert len(reconcile(files, {}, {}, lambda name: name == FILE)) == 0


def test_push_between_view_and_walk_is_deleted(machines: Machines) -> None:
    with machines.cycle_at(DO, Window.AFTER_VIEW):
        machines.push(DS, MESSAGE)
        machines.arrives(DO, MESSAGE)
        machines.is_stored(MESSAGE)

    assert not machines.has(DO, MESSAGE)
    assert machines.outcomes(MESSAGE, SyncOutcome.DELETED) == 1

    machines.scan(DO)

    assert machines.at(DO, MESSAGE).read_bytes() == b"data"


def test_push_between_walk_and_journal_is_a_conflict(machines: Machines) -> None:
    with machines.cycle_at(DO, Window.AFTER_WALK):
        machines.push(DS, MESSAGE)
        machines.arrives(DO, MESSAGE)
        machines.is_stored(MESSAGE)

    assert MESSAGE not in machines.world.journal(DO)
    machines.scan(DO)
    assert machines.has(DO, f"{BOX}/a.conflict.request")
    assert not machines.has(DO, MESSAGE)
    machines.scan(DO)
    assert machines.has(DO, MESSAGE)


def test_sender_loses_its_own_push_to_its_cycle(machines: Machines) -> None:
    with machines.cycle_at(DS, Window.AFTER_VIEW):
        machines.push(DS, MESSAGE)

    assert not machines.has(DS, MESSAGE)
    machines.arrives(DO, MESSAGE)


def test_slow_store_makes_the_window_of_a_push(machines: Machines) -> None:
    with machines.world.hold(DS, Window.PUT, MESSAGE) as stored:
        machines.push(DS, MESSAGE)
        stored.wait()
        machines.arrives(DO, MESSAGE)
        machines.scan(DO)
        assert not machines.has(DO, MESSAGE)
    machines.is_stored(MESSAGE)

    machines.scan(DO)

    assert machines.has(DO, MESSAGE)


def test_cycle_leaves_a_push_out_for_its_second(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=300)
    with machines.world.hold(DS, Window.PUT, MESSAGE) as stored:
        machines.put(DS, MESSAGE)
        stored.wait()

        assert machines.scan(DS) == 0
        assert machines.has(DS, MESSAGE)


def test_equal_bytes_without_an_entry_are_a_conflict(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.scan(DO)
    machines.put(DS, FILE)

    machines.scan(DS)

    assert machines.has(DS, f"{BOX}/a.conflict.blob")
    assert not machines.has(DS, FILE)
    machines.scan(DS)
    assert machines.has(DS, FILE)


def test_conflict_keeps_the_entry_of_the_journal(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.scan(DO)
    machines.scan(DS)
    before = machines.world.journal(DS)[FILE]
    machines.put(DS, FILE, b"of the aggregator")
    machines.put(DO, FILE, b"of the owner")
    machines.scan(DO)

    machines.scan(DS)

    assert machines.at(DS, f"{BOX}/a.conflict.blob").read_bytes() == b"of the aggregator"
    assert machines.world.journal(DS)[FILE] == before
    machines.scan(DS)
    assert machines.at(DS, FILE).read_bytes() == b"of the owner"


def test_second_conflict_moves_the_first_marker(machines: Machines) -> None:
    for data in (b"first", b"second"):
        machines.put(DO, FILE, data)
        machines.scan(DO)
        machines.put(DS, FILE, b"mine")
        machines.scan(DS)

    names = sorted(path.name for path in machines.at(DS, BOX).glob("a.*blob"))

    assert len(names) == 2
    assert re.fullmatch(r"a\.conflict\.\d{14}\.blob", names[0])
    assert names[1] == "a.conflict.blob"


def test_empty_journal_is_rebuilt_from_equal_files(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.scan(DO)
    machines.world.kill(DO)
    machines.world._daemon(DO).journal.load({})

    assert machines.world.restart(DO)

    assert FILE in machines.world.journal(DO)
    assert machines.has(DO, FILE)
    assert not machines.has(DO, f"{BOX}/a.conflict.blob")


def test_vanished_file_ends_the_walk(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.put(DO, OWN)

    with machines.cycle_at(DO, Window.IN_WALK, FILE):
        machines.at(DO, FILE).unlink()

    assert machines.world.failure(DO) == "WalkAbandonedError"
    assert OWN not in machines.world.stored()
    machines.scan(DO)
    assert OWN in machines.world.stored()


def test_settle_repeats_an_abandoned_walk(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.put(DO, OWN)
    with ThreadPoolExecutor(1) as thread:
        with machines.world.hold(DO, Window.IN_WALK, FILE, wait=False) as held:
            settled = thread.submit(machines.network.settle)
            held.wait()
            machines.at(DO, FILE).unlink()
        settled.result()

    assert OWN in machines.world.stored()


def test_vanished_file_at_the_start_ends_the_client(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.world.kill(DO)
    with machines.world.hold(DO, Window.IN_WALK, FILE, wait=False) as held:
        machines.world.restart(DO, wait=False)
        held.wait()
        machines.at(DO, FILE).unlink()

    eventually(lambda: machines.world.failure(DO) == "WalkAbandonedError", "the end of the client")
    assert not machines.world.is_up(DO)
    eventually(lambda: machines.world.restart(DO), "a new start of the client")


def test_nothing_is_synced_below_five_gibibytes(machines: Machines) -> None:
    machines.world.set_free_space(DO, 5 << 30)
    machines.put(DO, OWN)

    assert machines.scan(DO) == 0
    assert OWN not in machines.world.stored()
    machines.world.kill(DO)
    assert not machines.world.restart(DO)
    machines.world.set_free_space(DO, (5 << 30) + 1)
    assert machines.world.restart(DO)
    assert OWN in machines.world.stored()


def test_next_cycle_waits_for_the_transfers_of_this_one(machines: Machines) -> None:
    machines.put(DO, FILE)
    with machines.world.hold(DO, Window.UPLOAD, FILE) as held:
        machines.world.set_automatic(True, DO)
        held.wait()
        cycles = machines.world.cycles(DO)
        machines.put(DO, OWN)
        machines.push(DO, f"{BOX}/b.response")
        machines.arrives(DS, f"{BOX}/b.response")
        assert machines.world.cycles(DO) == cycles
        assert OWN not in machines.world.stored()

    machines.is_stored(OWN)


def test_eight_uploads_run_at_a_time(machines: Machines) -> None:
    for number in range(10):
        machines.put(DO, f"{BOX}/{number}.blob")
    with machines.world.hold(DO, Window.UPLOAD) as held:
        machines.world.set_automatic(True, DO)
        held.wait(8)
        assert len(held.names) == 8

    machines.is_stored(f"{BOX}/9.blob")


def test_download_is_copied_beside_its_place(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.scan(DO)
    with machines.world.hold(DS, Window.COPY, FILE) as held:
        machines.world.set_automatic(True, DS)
        held.wait()
        names = [path.name for path in machines.at(DS, BOX).glob("a.*")]
        assert len(names) == 1
        assert re.fullmatch(r"a\.blob\.tmp\.\d+", names[0])

    machines.arrives(DS, FILE)


def test_eight_downloads_run_at_a_time(machines: Machines) -> None:
    for number in range(10):
        machines.put(DO, f"{BOX}/{number}.blob", bytes([number]))
    machines.scan(DO)
    with machines.world.hold(DS, Window.COPY) as held:
        machines.world.set_automatic(True, DS)
        held.wait(8)
        assert len(held.names) == 8

    machines.arrives(DS, f"{BOX}/9.blob")


def test_three_failures_exclude_a_file_until_a_restart(machines: Machines) -> None:
    machines.store.fails = True
    machines.put(DO, OWN)
    for _ in range(3):
        assert machines.world.excluded(DO) == set()
        machines.scan(DO)
    machines.store.fails = False

    assert machines.world.excluded(DO) == {OWN}
    assert machines.scan(DO) == 0
    machines.world.kill(DO)
    assert machines.world.restart(DO)
    assert OWN in machines.world.stored()


def test_success_clears_the_strikes(machines: Machines) -> None:
    for number in range(3):
        machines.put(DO, OWN, bytes([number]))
        machines.store.fails = True
        machines.scan(DO)
        machines.scan(DO)
        machines.store.fails = False
        assert machines.scan(DO) == 1


def test_slow_body_is_a_strike(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=0.01)
    machines.world.uplink(DO).rate = 100_000
    machines.put(DO, OWN, bytes(7_000))

    for _ in range(3):
        machines.scan(DO)

    assert machines.world.excluded(DO) == {OWN}
    machines.put(DO, FILE, bytes(4_000))
    machines.scan(DO)
    assert FILE in machines.world.stored()


def test_refused_upload_is_renamed_and_may_come_again(machines: Machines) -> None:
    name = f"{DO}/public/of-the-aggregator.txt"
    for data in (b"first", b"second"):
        machines.put(DS, name, data)
        machines.scan(DS)
        assert not machines.has(DS, name)

    rejected = sorted(path.name for path in machines.at(DS, f"{DO}/public").glob("of-*"))

    assert rejected[1] == "of-the-aggregator.rejected.txt"
    assert re.fullmatch(r"of-the-aggregator\.rejected\.\d{14}\.txt", rejected[0])


def test_marker_does_not_stop_a_later_upload(machines: Machines) -> None:
    machines.put(DO, OWN)
    machines.put(DO, f"{DO}/public/a.rejected.txt")

    machines.scan(DO)

    assert OWN in machines.world.stored()


def test_refused_deletion_is_a_strike_and_comes_back(machines: Machines) -> None:
    machines.put(DO, OWN)
    machines.scan(DO)
    machines.scan(DS)
    machines.at(DS, OWN).unlink()

    machines.scan(DS)
    assert machines.network.traffic.count(SyncOutcome.REFUSED, How.SCAN) == 1
    machines.scan(DS)

    assert machines.has(DS, OWN)


def test_deletions_do_not_wait_for_uploads(machines: Machines) -> None:
    machines.put(DO, OWN)
    machines.scan(DO)
    machines.at(DO, OWN).unlink()
    for number in range(8):
        machines.put(DO, f"{BOX}/{number}.blob")

    with machines.world.hold(DO, Window.UPLOAD) as held:
        machines.world.set_automatic(True, DO)
        held.wait(8)
        eventually(lambda: OWN not in machines.world.indexed(), "the deletion")


def test_deletions_without_a_reply_stay_in_the_journal(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=0.005)
    for name in (FILE, OWN):
        machines.put(DO, name)
    machines.network.settle()
    for name in (FILE, OWN):
        machines.at(DS, name).unlink()
    machines.store.stop()

    machines.scan(DS)

    assert {FILE, OWN} <= set(machines.world.journal(DS))
    for _ in range(2):
        machines.scan(DS)
    assert machines.world.excluded(DS) == {FILE, OWN}


def test_all_of_many_deletions_are_done(machines: Machines) -> None:
    names = [f"{BOX}/{number}.blob" for number in range(120)]
    for name in names:
        machines.put(DO, name)
    machines.scan(DO)
    for name in names:
        machines.at(DO, name).unlink()

    assert machines.scan(DO) == len(names)

    assert not machines.world.indexed() & set(names)
    assert not set(machines.world.journal(DO)) & set(names)


def test_received_deletion_removes_empty_folders(machines: Machines) -> None:
    name = f"{BOX}/deep/er/a.blob"
    machines.at(DO, name).parent.mkdir(parents=True)
    machines.put(DO, name)
    machines.scan(DO)
    machines.scan(DS)
    machines.at(DO, name).unlink()
    machines.scan(DO)

    machines.scan(DS)

    assert not machines.has(DS, f"{BOX}/deep")
    assert machines.has(DS, BOX)


def test_download_has_the_bytes_of_now_and_the_etag_of_the_view(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.scan(DO)
    with machines.cycle_at(DS, Window.AFTER_VIEW):
        machines.put(DO, FILE, b"newer")
        machines.scan(DO)

    assert machines.at(DS, FILE).read_bytes() == b"newer"
    machines.scan(DS)
    assert machines.has(DS, f"{BOX}/a.conflict.blob")


def test_walk_finds_files_in_very_deep_folders(tmp_path: Path) -> None:
    with nested([tmp_path / "a"], 1_100) as (last,):
        (last / "file").write_bytes(b"x")
        (tmp_path / "b").write_bytes(b"x")
        looked_at: list[str] = []
        found = DiskWalk(tmp_path).run(looked_at.append)
    assert looked_at == list(found) == ["a/" + "d/" * 1_100 + "file", "b"]


def test_watcher_of_very_deep_folders_names_the_cause(tmp_path: Path) -> None:
    """watchdog walks the folders with ``os.walk``, which is recursive before Python 3.12."""
    watcher = WriteWatcher({tmp_path: lambda _: None})
    with nested([tmp_path / "a"], 1_100):
        if sys.version_info < (3, 12):
            with pytest.raises(TransportError, match="cannot watch the participants' folders: they are too deep"):
                watcher.start()
        else:
            watcher.start()
            assert watcher.flush(10)
        watcher.stop()
