"""A withdrawn request ends its work at once, so that the next request need not wait for it."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from faultkit.clock import StillClock
from faultkit.federation import APP, OWNERS, Federation, answer_of
from faultkit.lone_worker import lone_worker
from faultkit.relay import Relay
from faultkit.storage import FolderStorage, MemoryStorage
from faultkit.synced import SyncedStorage
from waiting import PATIENCE, eventually

from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import UnavailableError

OWNER = OWNERS[0]


def _is_gone(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_request_behind_a_withdrawn_one_runs_at_once(
    tmp_path: Path, storage_with_workers: FolderStorage | SyncedStorage
) -> None:
    with Federation(tmp_path / "homes", storage_with_workers, [OWNER]) as federation:
        federation.start()
        (first,) = federation.assert_served()
        endless, waiting = federation.push("never_end_nor_listen") + federation.push()
        call = federation[OWNER].journal.wait_for_call(endless)
        federation.withdraw(endless)
        (reply,) = federation.pull([waiting])
        answered = answer_of(reply)
        # The state of the app is that after its last reply.
        assert (first["messages"], answered["messages"]) == (1, 2)
        assert answered["process"] != call["process"]
        eventually(lambda: _is_gone(int(call["process"])), "the end of the worker")
        assert len(federation[OWNER].journal.calls_of(endless)) == 1
        federation.assert_served()
    federation.assert_nothing_left()


def test_work_ends_with_the_lifetime_of_its_request(tmp_path: Path, folder_with_workers: FolderStorage) -> None:
    """Also if no aggregator is there to withdraw it."""
    clock = StillClock()
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER], clock=clock) as federation:
        federation.start()
        (message,) = federation.messages("never_end_the_first_time")
        message.metadata.ttl = 60.0
        (late,) = federation.messages()
        late.metadata.ttl = 30.0
        first, second = federation.grid.push_messages([message, late])
        call = federation[OWNER].journal.wait_for_call(first)
        pending = federation.grid._caller._pending
        eventually(lambda: "waiting" in [each.held for each in pending.open()], "the second request in a heartbeat")
        # The aggregator dies: from now on, it neither reads nor withdraws.
        federation.abandon()
        clock.advance(59)
        federation[OWNER].spy.wait_for_scans(2)
        assert not _is_gone(int(call["process"]))
        clock.advance(1)
        eventually(lambda: _is_gone(int(call["process"])), "the end of the worker")
        response = federation.response_name(OWNER, second)
        eventually(lambda: folder_with_workers.read(response), "the reply to the second request")
        assert [call["message"] for call in federation[OWNER].journal.calls] == [first]
        # Both replies name the true reason.
        with closing(Ledger(federation.root / OWNER / "apps" / APP / "ledger.db")) as ledger:
            reports = [json.loads(ledger.get(message_id).report) for message_id in (first, second)]
        assert [(report["reason"], report["text"]) for report in reports] == [
            ("no-answer", "its lifetime was over while the app worked on it, so the work was ended"),
            ("no-answer", "its lifetime was over before the app was free for it"),
        ]


def test_request_that_expires_in_the_queue_never_runs(tmp_path: Path, memory: MemoryStorage) -> None:
    clock = StillClock()
    with Federation(tmp_path / "homes", memory, [OWNER], clock=clock) as federation:
        federation.start()
        (first,) = federation.push("answer_at_the_gate")
        federation[OWNER].journal.wait_for_call(first)
        (message,) = federation.messages()
        message.metadata.ttl = 60.0
        (second,) = federation.grid.push_messages([message])
        pending = federation.grid._caller._pending
        eventually(lambda: "waiting" in [each.held for each in pending.open()], "the second request in a heartbeat")
        federation.abandon()
        clock.advance(60)
        federation[OWNER].journal.open_gate()
        eventually(lambda: memory.read(federation.response_name(OWNER, second)), "the reply to the second request")
        assert [call["message"] for call in federation[OWNER].journal.calls] == [first]


@pytest.mark.parametrize("name", ["", "deaf"])
def test_interrupted_worker_serves_the_next_message(tmp_path: Path, name: str) -> None:
    with lone_worker(tmp_path) as lone, ThreadPoolExecutor(1) as pool:
        before = lone.answer()["process"]
        interrupted = pool.submit(lone.error, "hang", name)
        eventually((tmp_path / "here").exists, "the app")
        lone.worker.interrupt(f"{lone.number - 1:032x}")
        assert not interrupted.done()
        lone.worker.interrupt(f"{lone.number:032x}")
        assert interrupted.result(PATIENCE) == "stopped: the request was withdrawn, so its work was ended"
        assert lone.answer()["process"] != before


def test_request_withdrawn_before_its_work_begins_none(tmp_path: Path) -> None:
    with lone_worker(tmp_path) as lone:
        before = lone.answer()
        lone.worker.interrupt(f"{2:032x}")
        assert lone.error("hang").startswith("stopped: the request was withdrawn")
        # The worker has not seen the request.
        assert lone.answer() == before


def test_withdrawn_request_is_not_downloaded_to_its_end(tmp_path: Path) -> None:
    with closing(Relay(tmp_path, objects=5)) as relay:
        copies = []

        def withdraw() -> None:
            copies.append(1)
            if len(copies) == 2:
                relay.worker.interrupt(relay.header.id)

        relay.transport.on_keep = withdraw
        reply = relay.run()
        assert reply.body.manifest.error is not None
        assert reply.body.manifest.error.code == "stopped"
        assert (len(copies), relay.calls) == (2, 0)
        # The next request is another one.
        relay.transport.on_keep = lambda: None
        relay.header = relay.header.model_copy(update={"id": "1" * 32})
        assert relay.run().body.manifest.error is None


def test_reply_to_a_withdrawn_request_is_not_sent_again(tmp_path: Path) -> None:
    with closing(Relay(tmp_path, lifetime=timedelta(days=7))) as relay, ThreadPoolExecutor(1) as pool:
        relay.transport.fault["put"] = UnavailableError("no connection")
        running = pool.submit(relay.run)
        eventually(lambda: relay.clock._waiting, "the wait for the next attempt")
        relay.worker.interrupt("f" * 32)
        assert not running.done()
        relay.worker.interrupt(relay.header.id)
        running.result(PATIENCE)
        assert relay.calls == 1


@pytest.mark.parametrize("missing", [1, 0])
def test_objects_without_room_are_not_downloaded(tmp_path: Path, missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Relay(tmp_path, objects=3)) as relay:
        kept: list[int] = []
        relay.transport.on_keep = lambda: kept.append(1)
        near = relay.worker._near
        needed = sum(relay.worker._theirs.file_size(ref) for ref in relay.body.manifest.objects)
        monkeypatch.setattr(near, "free_space", lambda: needed + near.properties.reserve - missing)

        error = relay.run().body.manifest.error

        assert (error.code if error else "") == ("storage-full" if missing else "")
        assert len(kept) == (0 if missing else 3)
