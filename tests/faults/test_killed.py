"""Shows that a killed process leaves no child process, and that its successor completes its open requests."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
from faultkit.federation import OWNERS, Federation, answer_of, reason_of
from faultkit.machine import Machine
from faultkit.storage import FolderStorage, MemoryStorage
from waiting import PATIENCE, eventually

from syft_flwr.fl_orchestrator.worker_process import InProcess

OWNER = OWNERS[0]


@pytest.fixture
def machine(tmp_path: Path, folder: FolderStorage) -> Iterator[Machine]:
    with ExitStack() as stack:
        machine = Machine(tmp_path / "machines", OWNER, folder.data_dir)
        stack.callback(machine.close)
        yield machine


@pytest.fixture
def federation(tmp_path: Path, folder: FolderStorage, machine: Machine) -> Iterator[Federation]:
    """Return a federation with the machine as its only data owner."""
    with Federation(tmp_path / "homes", folder, [OWNER]) as federation:
        yield federation


def is_gone(process: psutil.Process) -> bool:
    """Return whether a process has ended. A zombie has."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_client_killed_in_training_is_resumed_once(
    federation: Federation, machine: Machine, folder: FolderStorage
) -> None:
    machine.start()
    federation.begin_run()
    (first,) = federation.assert_served()
    (message_id,) = federation.push("never_end_the_first_time")
    worker = psutil.Process(machine.journal.wait_for_call(message_id)["process"])
    child = eventually(worker.children, "the process that the app started")[0]
    machine.kill()
    for process in (worker, child):
        eventually(lambda process=process: is_gone(process), f"the end of {process}")

    machine.start()
    response = federation.response_name(OWNER, message_id)
    answer = eventually(lambda: folder.read(response), "the reply")
    assert len(machine.journal.calls_of(message_id)) == 2

    # Kill the client before the reply is read. The next client writes the same reply, and does not run the app.
    machine.kill()
    folder.path(response).unlink()
    machine.start()
    eventually(lambda: folder.read(response) == answer, "the same reply")
    (reply,) = federation.pull([message_id])
    (last,) = federation.assert_served()
    assert len(machine.journal.calls_of(message_id)) == 2
    counts = [first["messages"], answer_of(reply)["messages"], last["messages"]]
    assert counts == [1, 2, 3]
    stop(federation, machine)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_client_ended_in_training_leaves_no_process(
    federation: Federation, machine: Machine, number: signal.Signals
) -> None:
    process = machine.start()
    federation.begin_run()
    (message_id,) = federation.push("never_end_the_first_time")
    worker = psutil.Process(machine.journal.wait_for_call(message_id)["process"])
    child = eventually(worker.children, "the process that the app started")[0]
    os.kill(process.pid, number)
    process.wait(PATIENCE)
    for left in (worker, child):
        eventually(lambda left=left: is_gone(left), f"the end of {left}")
    # This end does not count as a crash of the client on this message.
    (ledger,) = machine.root.rglob("ledger.db")
    with closing(sqlite3.connect(ledger)) as connection:
        row = connection.execute("SELECT state, attempts, attempt FROM received WHERE id = ?", (message_id,)).fetchone()
    assert row == ("running", 1, "")


def test_message_that_kills_its_client_is_given_up(
    federation: Federation, machine: Machine, folder: FolderStorage
) -> None:
    machine.start()
    federation.begin_run()
    (message_id,) = federation.push("answer_at_the_gate")
    for number in (1, 2, 3):
        machine.journal.wait_for_call(message_id, number=number)
        machine.kill()
        machine.start()
    (reply,) = federation.pull([message_id])
    assert reason_of(reply).startswith(
        f"{OWNER}: worker-died: the client itself was killed 3 times while its app worked"
    )
    assert len(machine.journal.calls_of(message_id)) == 3
    (served,) = federation.assert_served()
    assert served["messages"] == 1
    stop(federation, machine)


def test_second_client_names_the_first_process(federation: Federation, machine: Machine) -> None:
    first = machine.start()
    federation.begin_run()
    federation.assert_served()
    second = machine.start()
    assert second.wait(PATIENCE) == 1
    assert f"already running in process {first.pid}" in machine.log.read_text()
    federation.assert_served()
    machine.process = first
    stop(federation, machine)


def test_failing_server_app_ends_all_processes(tmp_path: Path, folder: FolderStorage) -> None:
    with ExitStack() as stack:
        owners = [Machine(tmp_path / "machines", email, folder.data_dir) for email in OWNERS]
        aggregator = Machine(tmp_path / "machines", Federation.aggregator, folder.data_dir)
        for machine in (*owners, aggregator):
            stack.callback(machine.close)
        processes = [machine.start() for machine in owners]
        code = aggregator.start("server", str(aggregator.project)).wait(PATIENCE)
        assert code == 1, aggregator.log.read_text()
        assert "the ServerApp was told to fail" in aggregator.log.read_text()
        for process in processes:
            assert process.wait(PATIENCE) == 0


def stop(federation: Federation, machine: Machine) -> None:
    """End the run, and check that the process exits with 0."""
    assert federation.grid is not None
    assert machine.process is not None
    federation.grid.send_stop_signal()
    federation.close_grid()
    assert machine.process.wait(PATIENCE) == 0


def test_client_that_ends_by_an_error_counts_as_killed(
    tmp_path: Path, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example by a lack of memory for the reply."""

    def fail(*_: object) -> NoReturn:
        raise MemoryError

    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        federation.introduce()
        federation.begin_run()
        (message_id,) = federation.push()
        with monkeypatch.context() as patch:
            patch.setattr(InProcess, "run", fail)
            for _ in range(3):
                federation[OWNER].start()
                with pytest.raises(MemoryError):
                    federation[OWNER].join()
        federation[OWNER].start()
        (reply,) = federation.pull([message_id])
        assert reason_of(reply).startswith(f"{OWNER}: worker-died: the client itself was killed 3 times")
        federation.assert_served()
