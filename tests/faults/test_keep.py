"""A kept client serves run after run. Only a signal ends it, and no request of the next run is lost."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, APP, NAMES, OWNERS, Federation, answer_of, passing_time, reason_of
from faultkit.forge import Forge
from faultkit.machine import Machine
from faultkit.storage import FolderStorage, MemoryStorage, Storage
from faultkit.synced import SyncedStorage
from flwr.app import ConfigRecord, RecordDict
from waiting import PATIENCE, eventually

from syft_flwr._messaging.own_files import is_there
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.run_table import RunRow
from syft_flwr._store.states import RunState
from syft_flwr.errors import AppLoadError, UnavailableError
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.stop_request import STOPPED_BY_COMMAND, StopRequest

OWNER = OWNERS[0]
FIRST, SECOND = 1001, 1002
FOREIGN = 4711
KEPT: dict[str, dict[str, Any]] = {OWNER: {"keep": True}}


@pytest.fixture
def kept(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, [OWNER], options=KEPT) as federation:
        yield federation


@pytest.fixture
def kept_in_memory(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, [OWNER], options=KEPT) as federation:
        yield federation


def end_run(federation: Federation) -> None:
    """End the run at the aggregator, as a server does."""
    assert federation.grid is not None
    federation.grid.send_stop_signal()
    federation.close_grid()


def make_stop(federation: Federation, run: int) -> tuple[str, bytes]:
    stop = RecordDict({"config": ConfigRecord({"action": "stop", "reason": "Server stopped"})})
    return Forge(federation, OWNER).request(stop, type="system", group="final", run=run)


def run_at_owner(federation: Federation, run: int) -> RunRow:
    home = federation[OWNER].participant.app_home(APP)
    with closing(Ledger(home / "ledger.db", read_only=True)) as ledger:
        row = ledger.runs.get(run)
    assert row
    return row


def wait_for_end(federation: Federation, run: int, state: RunState = RunState.COMPLETED) -> None:
    """Wait until the data owner has recorded the end of a run, in its database and in its record."""
    folder = runs_folder(federation[OWNER].participant.app_home(APP))

    def has_end() -> bool:
        return any(entry.event == "run-ended" for entry in read_entries(record_path(folder, run, "datasite")))

    eventually(has_end, f"the end of run {run} in its record")
    assert run_at_owner(federation, run).state is state


def runs_called(federation: Federation) -> list[int]:
    return [call["run"] for call in federation[OWNER].journal.calls]


def test_kept_client_serves_run_after_run(kept: Federation) -> None:
    kept.start()
    for run in (FIRST, SECOND):
        if run == SECOND:
            kept.begin_run(SECOND)
        # The state of the app begins with the run.
        assert [kept.assert_served()[0]["messages"] for _ in range(2)] == [1, 2]
        end_run(kept)
        wait_for_end(kept, run)
        assert kept[OWNER].is_running
    assert runs_called(kept) == [FIRST, FIRST, SECOND, SECOND]
    assert run_at_owner(kept, SECOND).resumed == 0
    kept.stop()
    kept.assert_nothing_left()


def test_kept_client_shows_that_it_is_there_between_runs(kept_in_memory: Federation, memory: MemoryStorage) -> None:
    federation, heartbeat = kept_in_memory, NAMES.heartbeat(OWNER)
    seen: set[bool] = set()
    federation.start()
    federation.spy.before_deleting = lambda: seen.add(bool(memory.read(heartbeat)))
    federation[OWNER].spy.before_deleting = federation.spy.before_deleting
    before = memory.read(heartbeat)
    end_run(federation)
    wait_for_end(federation, FIRST)
    eventually(lambda: memory.read(heartbeat) not in (b"", before), "a heartbeat of the next client")
    assert seen == {True}
    federation.stop()
    assert not memory.read(heartbeat)


def test_foreign_stop_between_runs_is_ignored(kept_in_memory: Federation, logged: list[str]) -> None:
    federation = kept_in_memory
    federation.start()
    end_run(federation)
    wait_for_end(federation, FIRST)
    for run in (FOREIGN, FIRST):
        federation.storage.plant(*make_stop(federation, run))
    eventually(lambda: any(f"run {FOREIGN} is over" in line for line in logged), "a line about the other run")
    # The aggregator deletes both stops, because they are requests in its name without a record.
    federation.begin_run(SECOND)
    federation.assert_served()
    assert federation[OWNER].is_running


def test_requests_during_the_end_of_a_run_are_served(kept: Federation) -> None:
    """The client of the first run cannot end while its app works. Meanwhile the next run begins."""
    owner = kept[OWNER]
    kept.start()
    (first,) = kept.push("answer_at_the_gate")
    owner.journal.wait_for_call(first)
    assert kept.grid is not None
    kept.grid.send_stop_signal()
    kept.begin_run(SECOND)
    ids = [kept.push()[0] for _ in range(3)]
    owner.spy.wait_for_scans(2)
    owner.journal.open_gate()
    assert [answer_of(reply)["messages"] for reply in kept.pull(ids)] == [1, 2, 3]
    assert runs_called(kept) == [FIRST, SECOND, SECOND, SECOND]
    assert run_at_owner(kept, SECOND).resumed == 0


def test_files_that_arrive_between_two_clients_count(kept_in_memory: Federation, memory: MemoryStorage) -> None:
    """The stop was there before the next client, so it does not end it. The request is served."""
    federation, owner = kept_in_memory, kept_in_memory[OWNER]
    federation.start()
    name, request = Forge(federation, OWNER, SECOND).request()
    arrivals = [make_stop(federation, FOREIGN), make_stop(federation, FIRST), (name, request)]

    def arrive(inbox: str) -> None:
        while arrivals:
            memory.plant(*arrivals.pop(0))
        owner.spy.inner.open_inbox(inbox)

    # The first call of the next client.
    owner.spy.open_inbox = arrive
    end_run(federation)
    reply = name.removesuffix(".request") + ".response"
    eventually(lambda: memory.read(reply), "the reply of the next client")
    assert runs_called(federation) == [SECOND]
    federation.begin_run(SECOND + 1)
    federation.assert_served()


def test_late_stop_does_not_end_the_work_of_the_next_run(kept_in_memory: Federation, logged: list[str]) -> None:
    federation, owner = kept_in_memory, kept_in_memory[OWNER]
    federation.start()
    federation.assert_served()
    # The same server begins another run, and the stop of the first one is late.
    federation.begin_run(SECOND)
    (message_id,) = federation.push("answer_at_the_gate")
    owner.journal.wait_for_call(message_id)
    late, stop = make_stop(federation, FIRST)
    federation.storage.plant(late, stop)
    wait_for_end(federation, FIRST)
    owner.journal.open_gate()
    (reply,) = federation.pull([message_id])
    assert answer_of(reply)["messages"] == 1
    assert len(owner.journal.calls_of(message_id)) == 1
    assert any("works for another run" in line for line in logged)
    federation.storage.take(late)


def test_next_run_that_began_before_a_late_stop_goes_on(kept_in_memory: Federation) -> None:
    federation = kept_in_memory
    federation.start()
    federation.assert_served()
    federation.begin_run(SECOND)
    federation.assert_served()
    late, stop = make_stop(federation, FIRST)
    federation.storage.plant(late, stop)
    wait_for_end(federation, FIRST)
    # The next client has the state of the run.
    assert federation.assert_served()[0]["messages"] == 2
    federation.storage.take(late)
    assert run_at_owner(federation, SECOND).resumed == 0


def test_stopped_run_ends_alone_and_the_client_stays(kept_in_memory: Federation) -> None:
    federation = kept_in_memory
    federation.start()
    home = federation[OWNER].participant.app_home(APP)
    record = record_path(runs_folder(home), FIRST, "datasite")
    process = eventually(lambda: [each.process for each in read_entries(record)], "the record")[0]
    StopRequest(str(FIRST), "datasite", process).write(home)
    wait_for_end(federation, FIRST, RunState.STOPPED)

    assert run_at_owner(federation, FIRST).cause == STOPPED_BY_COMMAND
    assert federation[OWNER].is_running
    end_run(federation)
    federation.begin_run(SECOND)
    assert federation.assert_served()
    federation.stop()


def test_client_that_cannot_start_again_tries_again(tmp_path: Path, memory: MemoryStorage, logged: list[str]) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], options=KEPT, clock=StillClock()) as federation:
        spy, problems = federation[OWNER].spy, [UnavailableError("the folder cannot be read", hint="Mend it.")] * 2

        def open_inbox(inbox: str) -> None:
            if problems:
                raise problems.pop()
            spy.inner.open_inbox(inbox)

        federation.start()
        spy.open_inbox = open_inbox
        with passing_time(federation.clock, after=0.1):
            end_run(federation)
            eventually(lambda: not problems, "two failed starts")
            federation.begin_run(SECOND)
            federation.assert_served()
        assert sum("cannot serve the next run now" in line for line in logged) == 2


def test_client_that_cannot_start_at_first_ends(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], options=KEPT) as federation:
        owner = federation[OWNER]

        def open_inbox(inbox: str) -> None:
            raise UnavailableError("the folder cannot be read", hint="Mend it.")

        owner.spy.open_inbox = open_inbox
        owner.start()
        with pytest.raises(UnavailableError):
            owner.join()


def test_app_that_cannot_be_loaded_does_not_end_the_client(
    tmp_path: Path, folder_with_workers: FolderStorage, breakable: Callable[[], None]
) -> None:
    with Federation(
        tmp_path / "homes", folder_with_workers, [OWNER], options=KEPT, client_app="breakable_app:client_app"
    ) as federation:
        federation[OWNER].start()
        federation.begin_run(FIRST)
        federation.assert_served()
        breakable()
        end_run(federation)
        wait_for_end(federation, FIRST)
        federation.begin_run(SECOND)
        assert "no_such_module" in reason_of(federation.ask()[0])
        end_run(federation)
        wait_for_end(federation, SECOND, RunState.FAILED)
        assert federation[OWNER].is_running


def test_kept_client_does_not_start_with_an_unloadable_app(tmp_path: Path, folder_with_workers: FolderStorage) -> None:
    with Federation(
        tmp_path / "homes", folder_with_workers, [OWNER], options=KEPT, client_app="no_such_module:app"
    ) as federation:
        federation[OWNER].start()
        with pytest.raises(AppLoadError, match="No module named 'no_such_module'"):
            federation[OWNER].join()


def test_wait_tells_after_which_run_the_client_ended(tmp_path: Path, memory: MemoryStorage, logged: list[str]) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], clock=StillClock()) as federation:
        federation.start()
        federation.assert_served()
        federation.stop()
        federation.begin_run(SECOND)
        federation.push()
        federation.clock.advance(31)
        (line,) = eventually(lambda: [line for line in logged if "waiting for" in line], "a line about the wait")
        ended = f"not seen yet; its client ended after run {FIRST}, which was over on 2030-01-01 00:0"
        assert f"waiting for {OWNER} ({ended}" in line


def test_wait_tells_at_once_that_the_client_ended(
    tmp_path: Path, storage_with_workers: FolderStorage | SyncedStorage, logged: list[str]
) -> None:
    """A signal at the data owner ends no request, because the client can come back."""
    options = {**KEPT, AGGREGATOR: {"msg_timeout": 3600}}
    with Federation(
        tmp_path / "homes", storage_with_workers, [OWNER], clock=StillClock(), options=options
    ) as federation:
        owner = federation[OWNER]
        federation.start()
        with federation.asking("never_end_the_first_time", timeout=None) as replies:
            eventually(lambda: owner.journal.calls, "the call of the app")
            federation.wait_for_heartbeat(OWNER)
            owner.end()
            # The end waits some seconds for withdrawals.
            with passing_time(federation.clock, after=1.0):
                owner.join()
            heartbeat = NAMES.heartbeat(OWNER)
            eventually(lambda: is_there(federation.spy, heartbeat) is False, "the deletion of the heartbeat")
            federation.let_pass(150)
            (line,) = eventually(lambda: [line for line in logged if "ended while a request" in line], "a warning")
            assert f"the client of {OWNER} ended while a request waits for it (last seen " in line
            ended = "its client ended on 2030-01-01 00:0"
            assert ended in line
            assert f"UTC; ask {OWNER} to start `syft-flwr client` again" in line
            eventually(lambda: [line for line in logged if "waiting for" in line and ended in line], "a line")
            assert not replies.done()
            owner.start()
            (reply,) = replies.result(PATIENCE)
            assert answer_of(reply)["messages"] == 1


# The command line.


def test_killed_kept_client_serves_the_next_run_after_a_restart(tmp_path: Path, folder: FolderStorage) -> None:
    with ExitStack() as stack:
        machine = Machine(tmp_path / "machines", OWNER, folder.data_dir)
        stack.callback(machine.close)
        federation = stack.enter_context(Federation(tmp_path / "homes", folder, [OWNER]))
        machine.start("client", str(machine.project), "--keep")
        federation.begin_run(FIRST)
        federation.assert_served()
        end_run(federation)
        assert machine.process is not None
        assert machine.process.poll() is None
        machine.kill()

        process = machine.start("client", str(machine.project), "--keep")
        federation.begin_run(SECOND)
        assert federation.assert_served()[0]["messages"] == 1
        end_run(federation)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        assert not folder.read(NAMES.heartbeat(OWNER))


def test_two_servers_find_the_same_kept_clients(
    tmp_path: Path, folder: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYFT_FLWR_KEEP", "true")
    with ExitStack() as stack:
        machines = [
            Machine(tmp_path / "machines", email, folder.data_dir, server_app="asking_server_app")
            for email in (AGGREGATOR, *OWNERS)
        ]
        for machine in machines:
            stack.callback(machine.close)
        server, *owners = machines
        processes = [owner.start("client", str(owner.project)) for owner in owners]
        # The apps get the run configuration of the server, so they share its journal.
        server.journal.open_gate()
        for number in (1, 2):
            assert server.start("server", str(server.project)).wait(60) == 0, server.log.read_text()
            calls = server.journal.calls
            assert len({call["run"] for call in calls}) == number
            assert len(calls) == 2 * len(OWNERS) * number
        assert [process.poll() for process in processes] == [None, None]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE) for process in processes] == [128 + signal.SIGTERM] * 2
