"""Shows that a participant ends cleanly, although its parent process ignores or blocks signals."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from faultkit.federation import OWNERS, Federation
from faultkit.machine import Machine
from faultkit.storage import FolderStorage
from waiting import PATIENCE, eventually

#: For each parent: its code, the signals that the participant must ignore, and the signal that must end it.
_PARENTS = {
    "ignored by a script with nohup": (
        "[signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)]",
        (signal.SIGINT, signal.SIGHUP),
        signal.SIGTERM,
    ),
    "SIGTERM blocked": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})",
        (),
        signal.SIGTERM,
    ),
    "SIGINT blocked": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})",
        (),
        signal.SIGINT,
    ),
}
_started_by = pytest.mark.parametrize(("parent", "ignored", "number"), _PARENTS.values(), ids=_PARENTS)


@pytest.fixture
def machines(tmp_path: Path, folder: FolderStorage) -> Iterator[dict[str, Machine]]:
    """Return the machine of each participant. The ServerApp waits for a signal."""
    emails = (Federation.aggregator, *OWNERS)
    with ExitStack() as stack:
        machines = {
            email: Machine(tmp_path / "machines", email, folder.data_dir, server_app="waiting_server_app")
            for email in emails
        }
        for machine in machines.values():
            stack.callback(machine.close)
        yield machines


@_started_by
def test_client_with_inherited_signals_ends_cleanly(
    parent: str,
    ignored: tuple[signal.Signals, ...],
    number: signal.Signals,
    tmp_path: Path,
    folder: FolderStorage,
    machines: dict[str, Machine],
) -> None:
    owner = machines[OWNERS[0]]
    with Federation(tmp_path / "homes", folder, [owner.email]) as federation:
        process = owner.start(parent=parent)
        federation.begin_run()
        (message_id,) = federation.push("never_end_the_first_time")
        worker = psutil.Process(owner.journal.wait_for_call(message_id)["process"])
        child = eventually(worker.children, "the process that the app started")[0]

        for signal_ in (*ignored, number):
            os.kill(process.pid, signal_)

        assert process.wait(PATIENCE) == 128 + number
        for left in (worker, child):
            eventually(lambda left=left: not is_running(left), f"the end of {left}")


@_started_by
def test_server_with_inherited_signals_stops_all(
    parent: str, ignored: tuple[signal.Signals, ...], number: signal.Signals, machines: dict[str, Machine]
) -> None:
    aggregator, *owners = machines.values()
    clients = [machine.start() for machine in owners]
    process = aggregator.start("server", str(aggregator.project), parent=parent)
    aggregator.journal.wait_for_call("")

    for signal_ in (*ignored, number):
        os.kill(process.pid, signal_)

    assert process.wait(PATIENCE) == 128 + number
    assert "Traceback" not in aggregator.log.read_text()
    # The server sent the stop, so the clients end by themselves.
    assert [client.wait(PATIENCE) for client in clients] == [0, 0]


def is_running(process: psutil.Process) -> bool:
    """Return whether a process still runs. A zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
