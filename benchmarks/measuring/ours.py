"""Measure syft_flwr on one machine: a server and data owners with one shared folder and encryption.

:func:`measure` starts these processes::

    python -m measuring.ours server FOLDER
    python -m measuring.ours owners FOLDER FIRST LAST

A single data owner in a process runs its app in a worker process, as in production. Several data owners in one process
run their apps in threads. They share one subscription to file events, because the system limits their number.
"""

import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack, closing
from pathlib import Path

from flwr.app import Context, RecordDict
from loguru import logger

from measuring import drive, synced
from measuring.emitted import EmitWatch, read_emitted
from measuring.plan import Plan, load, save
from measuring.processes import Processes
from measuring.result import Result, Times
from measuring.synced import Conditions
from measuring.workload import client, make_server, read_rounds
from syft_flwr.config import Settings, load_settings
from syft_flwr.fl_orchestrator import syftbox_flwr_client, syftbox_flwr_server
from syft_flwr.fl_orchestrator.participant import Participant, open_participant
from syft_flwr.runs.events import CONTROL
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.transport.syftbox import SyftBoxTransport
from syft_flwr.transport.watch import NameWatch

APP = "benchmark"
AGGREGATOR = "ds@example.org"
_APP_REFERENCE = "measuring.workload:client"
_POLL_INTERVAL = 3.0
_MESSAGE_FILES = {".request", ".response", ".blob", ".tmp"}
_END = 60.0


class _SharedEvents(SyftBoxTransport):
    """A SyftBox transport that shares the file events of another transport in the same process."""

    def __init__(self, root: Path, email: str, source: SyftBoxTransport) -> None:
        super().__init__(root / "box", email, poll_interval=_POLL_INTERVAL)
        self._source = source

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        return self._source.watch(prefixes)


def _settings(root: Path, email: str) -> Settings:
    if (root / synced.CONFIGS).exists():
        return synced.settings(root, email)
    return load_settings(
        environ={}, email=email, home=root / "home", data_dir=root / "box", poll_interval=_POLL_INTERVAL
    )


def participant(root: Path, email: str) -> Participant:
    if (root / drive.ADDRESS).exists():
        return drive.participant(
            root, email, [owner(number) for number in range(load(root / "plan.json", Plan).datasites)]
        )
    return open_participant(_settings(root, email))


def owner(number: int) -> str:
    return f"do{number}@example.org"


def context() -> Context:
    return Context(0, 0, {}, RecordDict(), {})


def _run_server(root: Path) -> None:
    plan = load(root / "plan.json", Plan)
    emails = [owner(number) for number in range(plan.datasites)]
    app = make_server(plan, root / "rounds.json")
    client = participant(root, AGGREGATOR)
    with closing(client.transport):
        syftbox_flwr_server(app, context(), emails, APP, client=client, raise_on_error=True)


def _run_owners(root: Path, first: int, last: int) -> None:
    if last - first == 1:
        alone = participant(root, owner(first))
        with closing(alone.transport):
            syftbox_flwr_client(_APP_REFERENCE, context(), APP, client=alone, aggregator=AGGREGATOR)
        return
    source = SyftBoxTransport(root / "box", owner(first), poll_interval=_POLL_INTERVAL)
    threads = []
    for number in range(first, last):
        email = owner(number)
        together = Participant(_settings(root, email), _SharedEvents(root, email, source), in_process=True)
        threads.append(threading.Thread(target=_serve_here, args=(together,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()


def _serve_here(end: Participant) -> None:
    syftbox_flwr_client(client, context(), APP, client=end, aggregator=AGGREGATOR)


def measure(plan: Plan, latency: str | None = None, conditions: Conditions | None = None) -> Result:
    """Run a plan in separate processes, in a temporary folder, and return its result.

    Args:
        plan: the measurement.
        latency: ``none`` or ``real`` uses an emulated Google Drive with this latency.
        conditions: uses a SyftBox network under these conditions. By default, all participants share one folder.

    Raises:
        MeasurementError: a process ended early or was too slow, or the ServerApp failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, ExitStack() as stack:
        root = Path(name)
        save(root / "plan.json", plan)
        emails = [AGGREGATOR, *(owner(number) for number in range(plan.datasites))]
        service = stack.enter_context(drive.emulated(root, emails, latency)) if latency else None
        network = stack.enter_context(synced.connected(root, emails, conditions)) if conditions else None
        environment = {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "LOGURU_LEVEL": "WARNING",
            "FLWR_LOG_LEVEL": "ERROR",
        }
        command = [sys.executable, "-m", __name__]
        with Processes(root) as processes:
            processes.start("server", [*command, "server", name], environment)
            for first in range(0, plan.datasites, plan.per_process):
                last = min(first + plan.per_process, plan.datasites)
                processes.start("client", [*command, "owners", name, str(first), str(last)], environment)
            processes.wait_for(root / "rounds.json", plan.timeout * (plan.rounds + 1))
            processes.wait_for_all(_END)
            used = drive.describe(service, plan) if service else []
            sent = network.sent(AGGREGATOR) if network else 0
        rounds = read_rounds(root / "rounds.json")
        where = str(conditions) if conditions else ""
        shared = f"{plan.per_process} data owners a process" if plan.per_process > 1 else ""
        return Result(
            system="syft_flwr",
            plan=plan,
            times=Times(rounds.seconds),
            good=rounds.good,
            server=processes.usage("server"),
            client=processes.usage("client"),
            memory_early=rounds.memory_early,
            memory_late=rounds.memory_late,
            written=_written(root),
            left=None if conditions else _left(root / "box"),
            note=", ".join(filter(None, (shared, f"Google Drive, latency {latency}" if latency else "", where))),
            sent=sent,
            emitted=read_emitted(root, plan.rounds),
            used=used,
            log=processes.said("server"),
        )


def _left(box: Path) -> Counter[str]:
    found = (path for path in box.rglob("*") if path.suffix in _MESSAGE_FILES)
    # The heartbeat of the aggregator outlives its process.
    return Counter(path.suffix for path in found if path.parent.name != "status")


def _written(root: Path) -> list[int]:
    """Return the bytes that the server wrote in each round, from its record."""
    totals: Counter[str] = Counter()
    for path in (root / "home" / AGGREGATOR / "apps" / APP / "runs").glob("*.aggregator.jsonl"):
        for entry in read_entries(path):
            if entry.event == "request-sent" and entry.fields["kind"] != CONTROL:
                totals[entry.fields["round"]] += entry.fields["bytes"]
    # Round 0 is the warm-up. The messages of start and stop have names that are not numbers.
    return [size for number, size in totals.items() if number.isdecimal() and number != "0"]


def main() -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    root = Path(sys.argv[2])
    watch = EmitWatch()
    if sys.argv[1] == "server":
        _run_server(root)
    else:
        _run_owners(root, int(sys.argv[3]), int(sys.argv[4]))
    watch.save(root / f"emitted-{os.getpid()}.json")


if __name__ == "__main__":
    main()
