"""Shows that a participant completes its open work after an interruption or a full disk, and does nothing twice.

The app interrupts the client in its own process, as Ctrl-C does. ``test_killed.py`` has the tests with killed processes.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, reason_of
from faultkit.forge import Forge
from faultkit.storage import Storage, carries_message
from flwr.app import ConfigRecord, RecordDict
from stored_rows import row_of
from waiting import PATIENCE, eventually

from syft_flwr._messaging.answering.answers import Answers
from syft_flwr._store.futures import Futures
from syft_flwr.errors import StorageFullError

OWNER, OTHER = OWNERS


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, [OWNER], clock=StillClock()) as federation:
        yield federation


def wait_for_interruption(federation: Federation) -> None:
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()


def test_restarted_owner_runs_only_open_requests(federation: Federation, storage: Storage) -> None:
    federation.start()
    answered = [federation.push()[0] for _ in range(3)]
    for message_id in answered:
        eventually(lambda i=message_id: storage.read(federation.response_name(OWNER, i)), "a reply")
    (interrupted,) = federation.push("interrupt_the_first_time")
    wait_for_interruption(federation)
    federation[OWNER].start()
    replies = [answer_of(reply) for reply in federation.pull([*answered, interrupted])]
    assert sorted(reply["messages"] for reply in replies) == [1, 2, 3, 4]
    calls = federation[OWNER].journal.calls
    assert len(calls) == 5
    assert len(federation[OWNER].journal.calls_of(interrupted)) == 2


def test_app_state_survives_a_restart_within_its_run(federation: Federation) -> None:
    federation.start()
    counts = [answer["messages"] for _ in range(2) for answer in federation.assert_served()]
    (interrupted,) = federation.push("interrupt_the_first_time")
    wait_for_interruption(federation)
    federation[OWNER].start()
    counts += [answer_of(reply)["messages"] for reply in federation.pull([interrupted])]
    federation.stop()
    federation.start()
    counts += [answer["messages"] for answer in federation.assert_served()]
    assert counts == [1, 2, 3, 1]


def test_restarted_owner_skips_a_withdrawn_request(federation: Federation, storage: Storage) -> None:
    federation.start()
    federation.assert_served()
    (interrupted,) = federation.push("interrupt_the_first_time")
    wait_for_interruption(federation)
    federation.withdraw(interrupted)
    federation[OWNER].start()
    federation.assert_served()
    assert len(federation[OWNER].journal.calls_of(interrupted)) == 1
    assert not storage.read(federation.response_name(OWNER, interrupted))


def interrupt(federation: Federation) -> None:
    """Interrupt the client during the run, and withdraw its open request."""
    (interrupted,) = federation.push("interrupt_the_first_time")
    wait_for_interruption(federation)
    federation.withdraw(interrupted)


def test_restarted_owner_ends_with_its_run(federation: Federation) -> None:
    federation.start()
    federation.assert_served()
    interrupt(federation)
    federation[OWNER].start()
    federation[OWNER].spy.wait_for_scans()
    federation.grid.send_stop_signal()
    federation.close_grid()
    federation[OWNER].join()


def test_stop_sent_while_down_does_not_end_the_client(federation: Federation, storage: Storage) -> None:
    """The client was started for the next runs, so a stop of an older run must not end it."""
    federation.start()
    federation.assert_served()
    run = federation.grid.run.run_id
    interrupt(federation)
    forge = Forge(federation, OWNER, run)
    stop = RecordDict({"config": ConfigRecord({"action": "stop", "reason": "Server stopped"})})
    late_stop, late_request = forge.request(stop, type="system", group="final"), forge.request()
    storage.plant(*late_stop)
    storage.settle()
    federation[OWNER].start()
    storage.plant(*late_request)
    assert forge.open_error(late_request[0]).code == "stopped"
    storage.take(late_stop[0])
    federation.begin_run()
    federation.assert_served()
    assert [call["run"] for call in federation[OWNER].journal.calls] == [run, run, run + 1]


def test_replay_is_refused_after_a_restart(federation: Federation, storage: Storage, logged: list[str]) -> None:
    federation.start()
    (message_id,) = federation.push()
    name = federation.request_name(OWNER, message_id)
    data = eventually(lambda: storage.read(name), "the request")
    federation.pull([message_id])
    federation.stop()
    storage.plant(name, data)
    storage.settle()
    federation.start()
    if storage.absence_withdraws:
        eventually(lambda: any(name in line and "this is a replay" in line for line in logged), "a line about it")
    else:
        # The sync service itself brings files back, so the data owner ignores a closed request without a warning.
        federation[OWNER].spy.wait_for_scans()
    federation.stop()
    # Longer than the lifetime of the request plus the tolerated clock difference.
    federation.clock.advance(32 * 86_400)
    storage.plant(name, data)
    storage.settle()
    federation.start()
    eventually(lambda: any(name in line and "it expired at" in line for line in logged), "a line about its age")
    federation.assert_served()
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1


def test_reply_is_written_when_there_is_room_again(federation: Federation, logged: list[str]) -> None:
    federation.start()
    federation[OWNER].spy.refuses[".response"] = StorageFullError("no room left")
    (message_id,) = federation.push()
    name = federation.response_name(OWNER, message_id)
    eventually(lambda: [line for line in logged if name in line and line.startswith("ERROR")], "a line about the room")
    federation[OWNER].spy.wait_for_scans()
    assert len([line for line in logged if name in line]) == 1
    federation[OWNER].spy.refuses.clear()
    assert answer_of(federation.pull([message_id])[0])
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1


def test_no_room_for_reply_arrays_is_an_error(federation: Federation) -> None:
    if federation[OWNER].spy.properties.inline_size > 160_000:
        pytest.skip("these arrays are inline in the reply over this storage")
    federation.start()
    federation[OWNER].spy.refuses[".blob"] = StorageFullError("no room left")
    (failed,) = federation.ask("answer_large")
    assert "no room left" in reason_of(failed)
    federation[OWNER].spy.refuses.clear()
    (reply,) = federation.ask("answer_large")
    assert answer_of(reply)


def test_request_during_the_first_scan_is_run(federation: Federation, storage: Storage) -> None:
    """The request arrives after the first listing, so only an event or the next scan can find it."""
    federation.introduce()
    forge = Forge(federation, OWNER)
    before, during = forge.request(), forge.request()
    storage.plant(*before)
    federation[OWNER].spy.after_listing = lambda: storage.plant(*during)
    federation[OWNER].start()
    for name, _ in (before, during):
        eventually(lambda name=name: storage.read(name.removesuffix(".request") + ".response"), f"a reply to {name}")
        storage.take(name)


def test_withdrawal_during_reply_write_leaves_no_file(federation: Federation, storage: Storage) -> None:
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate")
    request, response = federation.request_name(OWNER, message_id), federation.response_name(OWNER, message_id)
    spy = federation[OWNER].spy

    def withdraw(name: str) -> None:
        if name == response and storage.read(request):
            federation.withdraw(message_id)
            # Wait for a client that deletes the reply too early, before it is written.
            spy.deleted.wait(0.5)

    federation[OWNER].journal.wait_for_call(message_id)
    spy.deleted.clear()
    spy.before_putting = withdraw
    federation[OWNER].journal.open_gate()
    eventually(lambda: not storage.read(request), "the withdrawal")
    spy.wait_for_scans()
    federation.assert_served()
    assert not storage.read(response)


def test_withdrawal_before_reply_write_leaves_no_file(
    federation: Federation, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate")
    request, response = federation.request_name(OWNER, message_id), federation.response_name(OWNER, message_id)
    put = Answers.put

    def withdraw_and_put(answers: Answers, answered_id: str, *arguments: Any) -> None:
        if answered_id == message_id:
            federation.withdraw(message_id)
            federation[OWNER].spy.wait_for_scans(2)
        put(answers, answered_id, *arguments)

    federation[OWNER].journal.wait_for_call(message_id)
    monkeypatch.setattr(Answers, "put", withdraw_and_put)
    federation[OWNER].journal.open_gate()
    federation.assert_served()
    assert not storage.read(request)
    assert not storage.read(response)


def test_next_run_deletes_files_of_aborted_run(federation: Federation, storage: Storage) -> None:
    federation.start()
    left = [federation.push(behaviour)[0] for behaviour in ("answer", "answer_large")]
    for message_id in left:
        eventually(lambda i=message_id: storage.read(federation.response_name(OWNER, i)), "a reply")
    federation.abandon()
    federation.begin_run()
    federation.assert_served()
    names = [
        name(OWNER, message_id) for message_id in left for name in (federation.request_name, federation.response_name)
    ]
    eventually(lambda: not any(storage.read(name) for name in names), "the deletion of the left files")
    eventually(
        lambda: not any("/objects/" in name for name in filter(carries_message, storage.names())),
        "the deletion of the objects",
    )
    with contextlib.closing(Futures(federation.root / AGGREGATOR / "apps" / federation.app / "futures.db")) as futures:
        for message_id in left:
            row = row_of(futures, message_id)
            assert row is not None
            assert (row.state, row.reason) == ("collected", "the aggregator ended before it was answered")


def test_late_reply_is_dropped_and_leaves_no_file(federation: Federation, storage: Storage) -> None:
    federation.start()
    with federation.asking("answer_at_the_gate", timeout=60) as replies:
        eventually(lambda: federation[OWNER].journal.calls, "the call")
        federation.clock.advance(60)
        (late,) = replies.result(PATIENCE)
    assert "no reply within 60 s" in reason_of(late)
    message_id = late.metadata.reply_to_message_id
    assert not storage.read(federation.request_name(OWNER, message_id))
    federation.publish_withdrawals()
    federation[OWNER].spy.wait_for_scans()
    federation[OWNER].journal.open_gate()
    (served,) = federation.assert_served()
    # The data owner discarded the late reply and its app state.
    assert served["messages"] == 1
    assert not storage.read(federation.response_name(OWNER, message_id))
    assert not federation.grid.pull_messages([message_id])


def test_end_of_run_deletes_uncollected_replies(federation: Federation, storage: Storage) -> None:
    federation.start()
    for behaviour in ("answer", "answer_large", "raise_error"):
        (message_id,) = federation.push(behaviour)
        eventually(lambda i=message_id: storage.read(federation.response_name(OWNER, i)), "a reply")
    federation.stop()
    federation.assert_nothing_left()
