"""Measure how fast a killed run resumes: it replays the finished rounds from the record, then continues live.

    python benchmarks/resume.py --rounds 100 --kill-at 90 --size 1MB

A server and two data owners run in separate processes, with encryption. The server kills itself with SIGKILL after the
round ``--kill-at``, and is started again. The output has three times: of the first rounds live, of the start-up (keys
and databases), and of the replay of the finished rounds.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from flwr.serverapp import Grid, ServerApp
from measuring import ours
from measuring.interruption import exit_cleanly_on_signals
from measuring.plan import Plan, read_size, save, write_seconds, write_size
from measuring.processes import MeasurementError, Processes
from measuring.workload import exchange, random_model

from syft_flwr.fl_orchestrator import syftbox_flwr_server

_DATASITES = 2
_TIMEOUT = 600.0


def _serve(folder: Path, rounds: int, kill_at: int, size: int) -> None:
    """Run the server, and record the time at the end of each round."""
    started = time.monotonic()
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: object) -> None:  # noqa: ARG001 - Flower's signature
        begun = time.monotonic()
        again = (folder / "killed").exists()
        ends = []
        for number in range(1, rounds + 1):
            exchange(grid, random_model(max(1, size // 4), number), number, _TIMEOUT)
            ends.append(time.monotonic() - begun)
            if number == kill_at and not again:
                (folder / "killed").write_text(json.dumps(ends))
                os.kill(os.getpid(), signal.SIGKILL)
        temporary = folder / "done.new"
        temporary.write_text(json.dumps({"startup": begun - started, "ends": ends}))
        temporary.rename(folder / "done")

    emails = [ours.owner(number) for number in range(_DATASITES)]
    client = ours.participant(folder, ours.AGGREGATOR)
    syftbox_flwr_server(app, ours.context(), emails, ours.APP, client=client, raise_on_error=True)


def _measure(rounds: int, kill_at: int, size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, Processes(Path(name)) as processes:
        folder = Path(name)
        save(folder / "plan.json", Plan.of(size, rounds, _DATASITES))
        environment = {"PYTHONPATH": str(Path(__file__).parent), "LOGURU_LEVEL": "WARNING", "FLWR_LOG_LEVEL": "ERROR"}
        for number in range(_DATASITES):
            command = [sys.executable, "-m", "measuring.ours", "owners", name, str(number), str(number + 1)]
            processes.start("client", command, environment)
        command = [sys.executable, __file__, "--serve", name, "--rounds", str(rounds), "--kill-at", str(kill_at)]
        first = processes.start("server", [*command, "--size", f"{size}B"], environment)
        first.wait(_TIMEOUT)
        if not (folder / "killed").exists():
            raise MeasurementError(
                f"the first server ended before round {kill_at}; its log ends with\n{processes.said('server')}"
            )
        killed = json.loads((folder / "killed").read_text())
        again = time.monotonic()
        second = processes.start("server", [*command, "--size", f"{size}B"], environment)
        second.wait(_TIMEOUT)
        total = time.monotonic() - again
        if not (folder / "done").exists():
            raise MeasurementError(f"the second server failed; its log ends with\n{processes.said('server')}")
        done = json.loads((folder / "done").read_text())
        replay = done["ends"][kill_at - 1]
        print(f"{write_size(size)}, {_DATASITES} data owners, killed after round {kill_at} of {rounds}")
        print(f"  the first {kill_at} rounds, live: {write_seconds(killed[-1])}")
        print(f"  start-up of the second process, without imports: {write_seconds(done['startup'])}")
        print(f"  the first {kill_at} rounds, from the record: {write_seconds(replay)}")
        print(f"  the other {rounds - kill_at} rounds, live: {write_seconds(done['ends'][-1] - replay)}")
        print(f"  the second process, from its start to its end: {write_seconds(total)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=100, type=int)
    parser.add_argument("--kill-at", default=90, type=int)
    parser.add_argument("--size", default="1MB", type=read_size, help="size of the model, such as 1KB or 10MB")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve(arguments.serve, arguments.rounds, arguments.kill_at, arguments.size)
        return 0
    exit_cleanly_on_signals()
    try:
        _measure(arguments.rounds, arguments.kill_at, arguments.size)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
