"""Time rounds of one message to each data owner and back: every participant a process of its own, on this machine.

    python benchmarks/round_trip.py --size 1KB --rounds 1000 --datasites 2

Prints the round time (min, median, max), the replies, the files left behind, and the aggregator's memory after a tenth
of the rounds and at the end. The ClientApp echoes what it gets; encryption is on.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from loguru import logger

from syft_flwr.fl_orchestrator import SyftGrid, syftbox_flwr_client
from syft_flwr.fl_orchestrator.flower_server import new_run_id
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.opening import TransportConfig

_APP = "round_trip"
_DS = "ds@example.org"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}

app = ClientApp()


@app.query()
def echo(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower's signature
    return Message(message.content, reply_to=message)


def _participant(root: Path, email: str) -> Participant:
    config = TransportConfig(kind="syftbox", email=email, data_dir=root / "box", poll_interval=3.0)
    return Participant(email, config.open(), root / "home" / email, config)


def _serve(root: Path, email: str) -> None:
    context = Context(0, 0, {}, RecordDict(), {})
    reference = f"{Path(__file__).stem}:app"
    syftbox_flwr_client(reference, context, _APP, None, client=_participant(root, email), aggregator=_DS)


@contextmanager
def _data_owners(root: Path, emails: list[str]) -> Iterator[None]:
    folder = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": folder, "LOGURU_LEVEL": "WARNING"}
    command = [sys.executable, __file__, "--root", str(root), "--serve"]
    processes = [subprocess.Popen([*command, email], env=environment) for email in emails]
    try:
        yield
        for process in processes:
            process.wait(30)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _size(text: str) -> int:
    unit = next(unit for unit in _UNITS if text.upper().endswith(unit))
    return int(float(text[: -len(unit)]) * _UNITS[unit])


def _memory() -> int:
    """Return this process's resident memory in bytes."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measure(size: int, rounds: int, datasites: int) -> None:
    emails = [f"do{number}@example.org" for number in range(1, datasites + 1)]
    arrays = ArrayRecord([np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)])
    seconds: list[float] = []
    replies = 0
    early = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with _data_owners(root, emails), SyftGrid(_APP, emails, client=_participant(root, _DS)) as grid:
            grid.set_run(new_run_id())
            for number in range(-1, rounds):
                messages = [
                    Message(RecordDict({"arrays": arrays}), node, "query", group_id=str(number))
                    for node in grid.get_node_ids()
                ]
                start = time.perf_counter()
                answers = grid.send_and_receive(messages, timeout=120)
                elapsed = time.perf_counter() - start
                if number < 0:
                    # The first round waits for the processes to start.
                    continue
                seconds.append(elapsed)
                replies += sum(answer.has_content() for answer in answers)
                if number == rounds // 10:
                    early = _memory()
            late = _memory()
            grid.send_stop_signal()
        left = [path for path in (root / "box").rglob("*") if path.suffix in {".request", ".response", ".blob", ".tmp"}]
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    print(f"{size} bytes, {datasites} data owners, {rounds} rounds")
    print(f"round time: min {low:.1f} ms, median {middle:.1f} ms, max {high:.1f} ms")
    print(f"replies: {replies} of {rounds * datasites}; files left behind: {len(left)}")
    print(f"aggregator's memory: {early / 1e6:.1f} MB after a tenth of the rounds, {late / 1e6:.1f} MB at the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1KB", type=_size)
    parser.add_argument("--rounds", default=200, type=int)
    parser.add_argument("--datasites", default=2, type=int)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve(arguments.root, arguments.serve)
        return
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    measure(arguments.size, arguments.rounds, arguments.datasites)


if __name__ == "__main__":
    main()
