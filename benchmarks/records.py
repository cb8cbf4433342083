"""Measure the size of the record of a long run at its aggregator, and the time to read it.

    python benchmarks/records.py --data-owners 200 --rounds 100

It writes the events of a training with ``train`` and ``evaluate`` in each round, as the aggregator emits them, and then
reads the record. The limits are 30 MB and one second, for the default numbers.
"""

import argparse
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from syft_flwr.clock import SystemClock
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.events import (
    Event,
    Metrics,
    RequestEnded,
    RequestHeld,
    RequestSent,
    RoundStarted,
    RunEnded,
    RunStarted,
    Seen,
    Waiting,
    moment,
)
from syft_flwr.runs.record import record_path
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.stream import EventStream

T = TypeVar("T")

_RUN = (1 << 63) - 1
_SEED = 12
#: The share of the requests that fail.
_FAILURES = 0.02
#: Events after which the writer waits for the disk, because a real run emits them over hours.
_PAUSE = 10_000


class _Training:
    """The events of one run, with the same random values each time."""

    def __init__(self, data_owners: int, rounds: int) -> None:
        self._owners = [f"owner-{number:03}@hospital.example" for number in range(data_owners)]
        self._rounds = rounds
        self._random = random.Random(_SEED)
        self._clock = SystemClock()

    def events(self) -> Iterator[Event]:
        yield RunStarted(
            role="aggregator",
            app="benchmark",
            aggregator="aggregator@university.example",
            versions={"syft-flwr": "1.0.0", "flwr": "1.42.0", "python": "3.12.1"},
            fingerprints={email: secrets.token_hex(16) for email in self._owners},
            settings={"min_replies": "0.9", "grace": "60", "transport": "syftbox"},
            pid=4711,
        )
        yield from map(Seen, self._owners, ["syft-flwr 1.0.0"] * len(self._owners))
        for number in range(1, self._rounds + 1):
            yield RoundStarted(str(number), self._rounds)
            for kind in ("train", "evaluate"):
                yield from self._messages(kind, str(number))
                values = {name: self._random.random() for name in ("loss", "accuracy", "f1", "num-examples")}
                yield Metrics(str(number), kind, values)
        yield RunEnded("completed")

    def _messages(self, kind: str, number: str) -> Iterator[Event]:
        ids = {email: secrets.token_hex(16) for email in self._owners}
        deadline = moment(self._clock.now() + timedelta(hours=1))
        for email, message in ids.items():
            first = email == self._owners[0]
            written, saved = (104_857_600, 0) if first else (4_711, 104_852_889)
            yield RequestSent(message, email, kind, number, written, saved, self._seconds(0.01), deadline)
        yield Waiting(self._owners, deadline, "silence")
        for email, message in ids.items():
            yield RequestHeld(message, email, "running")
        for email, message in ids.items():
            phases = ("seal", "transfer", "download", "open_request", "run", "seal_reply", "open")
            seconds = {phase: self._seconds(60 if phase == "run" else 2) for phase in phases}
            if self._random.random() < _FAILURES:
                why = "ValueError: the app raised an exception; its owner finds the traceback in the log"
                yield RequestEnded(message, email, kind, "failed", number, "app-raised", why, 1_204, seconds)
            else:
                yield RequestEnded(message, email, kind, "answered", number, bytes=104_870_123, seconds=seconds)

    def _seconds(self, most: float) -> float:
        return round(self._random.uniform(0, most), 4)


def _write(folder: Path, training: _Training) -> int:
    stream = EventStream(folder, "aggregator", SystemClock())
    count = 0
    for count, event in enumerate(training.events(), 1):
        stream.emit(_RUN, event)
        if count % _PAUSE == 0:
            stream.flush(60)
    stream.flush(60)
    stream.close()
    return count


def _fold(path: Path) -> RunAccount:
    account = RunAccount()
    for entry in read_entries(path):
        account.add(entry)
    return account


def _best(work: Callable[[], T]) -> tuple[float, T]:
    """Return the shortest time of five calls in seconds, and the last result."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-owners", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        start = time.perf_counter()
        count = _write(Path(name), _Training(options.data_owners, options.rounds))
        writing = time.perf_counter() - start
        path = record_path(Path(name), _RUN, "aggregator")
        reading, lines = _best(lambda: sum(1 for _ in read_entries(path)))
        folding, account = _best(lambda: _fold(path))
        print(f"{count} events, written in {writing:.1f} s")
        print(f"{lines} lines, {path.stat().st_size / 1e6:.1f} MB")
        print(f"read in {reading:.2f} s; read and folded in {folding:.2f} s")
        print(f"{account.asked} requests, {account.answered} with a reply, {account.failed} failed")


if __name__ == "__main__":
    main()
