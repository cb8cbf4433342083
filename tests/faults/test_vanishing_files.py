"""Shows that no message is lost or run twice where a sync service deletes files, renames them and brings them back.

All participants share one SyftBox folder, and the test acts as the sync service.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation, answer_of, question
from faultkit.forge import Forge
from faultkit.storage import FolderStorage
from waiting import eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._store.futures import Futures
from syft_flwr._store.states import RunState
from syft_flwr.errors import TransportError, UnavailableError
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.transport.syftbox import SyftBoxTransport

OWNER = OWNERS[0]
#: Later than every session of the aggregator.
_LATEST = (1 << 53) - 1
STATEMENT = NAMES.aggregator_heartbeat(AGGREGATOR)


@pytest.fixture
def federation(tmp_path: Path, folder: FolderStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", folder, [OWNER]) as federation:
        yield federation


def wait_for(folder: FolderStorage, name: str) -> bytes:
    return eventually(lambda: folder.read(name), f"the file {name}")


def wait_until_gone(folder: FolderStorage, name: str) -> None:
    eventually(lambda: not folder.read(name), f"the deletion of {name}")


def push_unseen(federation: Federation, folder: FolderStorage, behaviour: str = "answer") -> tuple[str, str]:
    """Send a message, and wait for its reply, which the aggregator does not see. Return id and name of the reply."""
    federation.spy.hidden = (".response",)
    (message_id,) = federation.push(behaviour)
    name = federation.response_name(OWNER, message_id)
    wait_for(folder, name)
    return message_id, name


def assert_answered_once(federation: Federation, message_id: str) -> None:
    federation.spy.hidden = ()
    (reply,) = federation.pull([message_id])
    assert answer_of(reply)["messages"] == 1
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1


def abandon(federation: Federation) -> None:
    """Abandon the aggregator like a killed process, without a last statement."""
    federation.abandon()
    federation.spy.hidden = ()


def states(federation: Federation) -> set[str]:
    """Return the states of all requests in the ledger of the data owner."""
    path = federation.root / OWNER / "apps" / federation.app / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        return {state for (state,) in connection.execute("SELECT state FROM received")}


def wait_for_state(federation: Federation, message_id: str, state: str) -> None:
    """Wait until the ledger of the data owner has a request in this state."""
    path = federation.root / OWNER / "apps" / federation.app / "ledger.db"
    statement = "SELECT 1 FROM received WHERE id = ? AND state = ?"
    with closing(sqlite3.connect(path)) as connection:
        eventually(lambda: connection.execute(statement, (message_id, state)).fetchone(), f"the state {state}")


def held(folder: FolderStorage) -> set[str]:
    """Return the ids of the requests that the heartbeat of the data owner names."""
    heartbeat = json.loads(wait_for(folder, NAMES.heartbeat(OWNER)))
    return {heartbeat["running"], *heartbeat["waiting"]}


# Permissions


def test_deleted_permissions_are_put_back_in_a_run(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    folders = {OWNER: ["rpc", "objects", "status"], AGGREGATOR: ["objects", "status"]}
    paths = [
        folder.path(f"{email}/app_data/flwr/{federation.app}/{part}/syft.pub.yaml")
        for email, parts in folders.items()
        for part in parts
    ]
    eventually(lambda: all(path.exists() for path in paths), "the permission files")
    for path in paths:
        path.unlink()
    eventually(lambda: all(path.exists() for path in paths), "the permission files after their deletion")


# Requests


@pytest.mark.parametrize("way", ["deleted", "conflict"])
def test_vanished_request_is_put_back(federation: Federation, folder: FolderStorage, way: str) -> None:
    federation.introduce()
    federation.begin_run()
    (message_id,) = federation.push()
    path = folder.path(federation.request_name(OWNER, message_id))
    before = path.read_bytes()
    copy = path.with_name(f"{message_id}.conflict.request")
    path.rename(copy)
    if way == "deleted":
        copy.unlink()
    assert wait_for(folder, federation.request_name(OWNER, message_id)) == before
    eventually(lambda: not copy.exists(), "the deletion of the conflict copy")
    federation[OWNER].start()
    assert_answered_once(federation, message_id)


def test_request_deleted_in_training_is_answered(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate")
    federation[OWNER].journal.wait_for_call(message_id)
    folder.take(federation.request_name(OWNER, message_id))
    federation[OWNER].spy.wait_for_scans()
    federation[OWNER].journal.open_gate()
    assert_answered_once(federation, message_id)


def test_recorded_request_runs_without_its_file(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    (message_id,) = federation.push("interrupt_the_first_time")
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()
    name = federation.request_name(OWNER, message_id)
    federation.spy.refuses[name] = UnavailableError("the aggregator cannot write now")
    folder.take(name)
    federation[OWNER].start()
    (reply,) = federation.pull([message_id])
    assert answer_of(reply)
    assert not folder.read(name)
    assert len(federation[OWNER].journal.calls_of(message_id)) == 2


def test_request_that_returns_gets_its_reply_again(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    message_id, response = push_unseen(federation, folder)
    request = federation.request_name(OWNER, message_id)
    before, data = folder.read(response), folder.take(request)
    folder.take(response)
    folder.plant(request, data)
    assert wait_for(folder, response) == before
    assert_answered_once(federation, message_id)


def test_closed_request_that_returns_is_deleted(
    federation: Federation, folder: FolderStorage, logged: list[str]
) -> None:
    federation.start()
    message_id, response = push_unseen(federation, folder)
    request = federation.request_name(OWNER, message_id)
    data = folder.read(request)
    assert_answered_once(federation, message_id)
    wait_until_gone(folder, response)
    folder.plant(request, data)
    wait_until_gone(folder, request)
    federation[OWNER].spy.wait_for_scans()
    assert not folder.read(response)
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1
    assert not [line for line in logged if line.startswith("WARNING") and message_id in line]


def test_request_closes_unanswered_at_its_end(tmp_path: Path, folder: FolderStorage) -> None:
    """No aggregator runs, so nothing states that the requests are withdrawn."""
    with Federation(tmp_path / "homes", folder, [OWNER], clock=StillClock()) as federation:
        federation.introduce()
        forge = Forge(federation, OWNER)
        federation[OWNER].start()
        names = []
        for _ in range(2):
            name, data = forge.request(question("answer_at_the_gate"))
            folder.plant(name, data)
            names.append(name)
            eventually(lambda: federation[OWNER].journal.calls, "the first call")
        eventually(lambda: len(states(federation)) == 2, "both requests in the ledger")
        federation.clock.advance(timedelta(hours=2).total_seconds())
        eventually(lambda: states(federation) == {"closed"}, "the end of both requests")
        federation[OWNER].journal.open_gate()
        federation[OWNER].spy.wait_for_scans()
        assert len(federation[OWNER].journal.calls) == 1
        assert not [name for name in folder.names() if name.endswith(".response")]
        for name in names:
            folder.take(name)


# Replies


def test_vanished_reply_is_put_back(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    message_id, response = push_unseen(federation, folder)
    before = folder.take(response)
    assert wait_for(folder, response) == before
    assert_answered_once(federation, message_id)


def test_reply_that_returns_after_its_end_is_deleted(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    message_id, response = push_unseen(federation, folder)
    data = folder.read(response)
    assert_answered_once(federation, message_id)
    wait_until_gone(folder, response)
    strangers = [
        federation.response_name(OWNER, "0" * 32),
        f"{NAMES.messages_of(OWNER, AGGREGATOR)}notes.response",
        f"{NAMES.messages_of(OWNER, AGGREGATOR)}inner/{message_id}.response",
    ]
    for name in strangers:
        folder.plant(name, data)
    folder.plant(response, data)
    wait_until_gone(folder, response)
    # The end of the client deletes the last replies, and no file that this program did not write.
    federation.stop()
    assert all(folder.read(name) == data for name in strangers)


@pytest.mark.parametrize("step", ["open_inbox", "prepare", "list"])
def test_failed_start_deletes_no_awaited_reply(
    federation: Federation, folder: FolderStorage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    federation.start()
    message_id, response = push_unseen(federation, folder)
    federation.push("interrupt_the_first_time")
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()
    before = folder.read(response)
    assert before

    call = getattr(federation[OWNER].spy, step)

    def fail_once(*names: object, **options: object) -> object:
        # A start can do without the lists of the requests and heartbeats, because they are read again.
        if step == "list" and "/objects/" not in str(names):
            return call(*names, **options)
        monkeypatch.undo()
        raise TransportError("the folder cannot be used now")

    monkeypatch.setattr(federation[OWNER].spy, step, fail_once, raising=False)
    federation[OWNER].start()
    with pytest.raises(TransportError):
        federation[OWNER].join()
    assert folder.read(response) == before
    federation[OWNER].start()
    assert_answered_once(federation, message_id)


# Withdrawal


def test_absence_of_a_request_withdraws_nothing(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    message_id, response = push_unseen(federation, folder)
    abandon(federation)
    folder.take(federation.request_name(OWNER, message_id))
    federation[OWNER].spy.wait_for_scans()
    assert folder.read(response)
    assert "replied" in states(federation)
    federation.begin_run()
    wait_until_gone(folder, response)


def test_statement_outlives_the_aggregator(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    answered, response = push_unseen(federation, folder)
    (interrupted,) = federation.push("interrupt_the_first_time")
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()
    federation.close_grid()
    federation.spy.hidden = ()
    assert folder.read(response)
    assert folder.read(STATEMENT)
    federation[OWNER].start()
    wait_until_gone(folder, response)
    eventually(lambda: states(federation) == {"closed"}, "the end of all requests")
    assert len(federation[OWNER].journal.calls_of(interrupted)) == 1
    assert len(federation[OWNER].journal.calls_of(answered)) == 1


def test_gc_states_what_is_withdrawn(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    _, response = push_unseen(federation, folder)
    grid = federation.grid
    assert grid is not None
    abandon(federation)
    # Otherwise the run can be resumed, and its requests stay.
    with closing(Futures(federation.participant.app_home(federation.app) / "futures.db")) as futures:
        futures.runs.end(grid.run.run_id, RunState.STOPPED, "by the test", federation.participant.clock.now())
    collect_garbage(federation.participant, dry_run=True)
    federation[OWNER].spy.wait_for_scans()
    assert folder.read(response)
    collect_garbage(federation.participant, dry_run=False)
    wait_until_gone(folder, response)


@pytest.mark.parametrize("fault", ["signed by an outsider", "of a data owner", "rubbish"])
def test_forged_statement_is_ignored(
    federation: Federation, folder: FolderStorage, logged: list[str], fault: str
) -> None:
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate")
    federation[OWNER].journal.wait_for_call(message_id)
    forge, now = Forge(federation, OWNER), federation.clock.now()
    aggregator = Heartbeat("aggregator", AGGREGATOR, federation.app, _LATEST, 1, now, withdrawn=(message_id,))
    owner = Heartbeat("data-owner", AGGREGATOR, federation.app, _LATEST, 1, now, withdrawn=(message_id,))
    files = {
        "signed by an outsider": aggregator.encode(Identity.generate()),
        "of a data owner": owner.encode(forge.aggregator_keys),
        "rubbish": b"withdrawn",
    }
    folder.plant(STATEMENT, files[fault])
    eventually(lambda: [line for line in logged if f"WARNING {STATEMENT} " in line], "a line about the statement")
    federation[OWNER].journal.open_gate()
    assert_answered_once(federation, message_id)


def test_vanished_statement_is_written_again(federation: Federation, folder: FolderStorage) -> None:
    federation.start()
    wait_for(folder, STATEMENT)
    folder.take(STATEMENT)
    wait_for(folder, STATEMENT)


# A former aggregator


def test_requests_of_a_former_aggregator_end_by_time(tmp_path: Path, folder: FolderStorage, logged: list[str]) -> None:
    clock, homes = StillClock(), tmp_path / "homes"
    with Federation(homes, folder, [OWNER], clock=clock) as former:
        former.start()
        answered, response = push_unseen(former, folder)
        (message,) = former.messages("interrupt_the_first_time")
        message.metadata.ttl = 6 * 3_600.0
        (unanswered,) = former.grid.push_messages([message])
        with pytest.raises(KeyboardInterrupt):
            former[OWNER].join()
        abandon(former)
        former.storage.take(former.request_name(OWNER, unanswered))
    with Federation(homes, folder, [OWNER], clock=clock, aggregator=OUTSIDER) as present:
        present.start()
        present.assert_served()
        present[OWNER].spy.wait_for_scans()
        assert folder.read(response)
        assert not {answered, unanswered} & held(folder)
        clock.advance(timedelta(days=1).total_seconds())
        wait_for_state(present, unanswered, "closed")
        assert folder.read(response)
        clock.advance(timedelta(days=31).total_seconds())
        wait_for_state(present, answered, "closed")
        wait_until_gone(folder, response)
    assert not [line for line in logged if "is not the aggregator" in line]


# Releases of the other side


def test_peer_of_protocol_1_is_named_once(federation: Federation, folder: FolderStorage, logged: list[str]) -> None:
    federation.introduce()
    federation.begin_run()
    folder.plant(NAMES.old_heartbeat(OWNER), b"{}")
    text = f"Update syft-flwr at {OWNER}"
    eventually(lambda: [line for line in logged if text in line], "a line about the older release")
    looks = federation.spy.reads[NAMES.heartbeat(OWNER)]
    eventually(lambda: federation.spy.reads[NAMES.heartbeat(OWNER)] > looks + 2, "more scans")
    assert len([line for line in logged if text in line]) == 1


def rename(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.away"))


def replace_by_a_file(path: Path) -> None:
    rename(path)
    path.write_text("in the place of the folder")


def bring_back(path: Path) -> None:
    if path.is_file():
        path.unlink()
    path.with_name(f"{path.name}.away").rename(path)


@pytest.mark.parametrize("vanish", [rename, replace_by_a_file])
@pytest.mark.parametrize("folder_name", ["datasites", "."])
def test_vanished_data_folder_is_told_and_awaited(
    federation: Federation,
    folder: FolderStorage,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
    vanish: Callable[[Path], None],
    folder_name: str,
) -> None:
    federation.start()
    federation.assert_served()
    path = (folder.data_dir / folder_name).resolve()
    looks: list[float] = []
    free_space = SyftBoxTransport.free_space

    def counted(transport: SyftBoxTransport) -> int:
        looks.append(time.monotonic())
        return free_space(transport)

    monkeypatch.setattr(SyftBoxTransport, "free_space", counted)
    vanish(path)
    eventually(lambda: any("cannot be looked at now" in line for line in logged), "the line about the folder")
    before = len(looks)
    eventually(lambda: len(looks) > before + 10, "further scans")
    bring_back(path)

    eventually(lambda: any("can be looked at again" in line for line in logged), "the line about its return")
    federation.assert_served()
    told = [line for line in logged if "cannot be looked at now" in line]
    assert len({line.split(":")[1] for line in told}) == len(told), "once for each scanner"
    for line in told:
        assert len(line.splitlines()) == 2
        assert str(folder.data_dir / "datasites") in line.splitlines()[1]
    assert not [line for line in logged if "report this as a bug" in line or "Traceback" in line]
