"""Records of runs that no process made: of any size, with failures, hostile texts or a resume, in the home of a participant."""

import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from syft_flwr import RecordedRun, open_run
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import RunState
from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import (
    Event,
    Metrics,
    ReplyReleased,
    RequestEnded,
    RequestReceived,
    RequestSent,
    RequestStarted,
    RoundStarted,
    RunEnded,
    RunStarted,
)
from syft_flwr.runs.record import record_path

NOW = datetime(2026, 1, 1, 9, 30, tzinfo=UTC)
RUN, DS = 7_000_000_000_000_000_001, "ds@research.org"
VERSIONS = {"syft-flwr": "1.0.0", "flwr": "1.42.0", "python": "3.11.7"}
#: The phases of a request in the record of an aggregator, in seconds.
_PHASES = {
    "seal": 0.0004,
    "transfer": 0.21,
    "download": 0.034,
    "wait": 0.052,
    "open_request": 0.0031,
    "run": 1.234,
    "seal_reply": 0.0047,
    "open": 0.0005,
}


class SyntheticHome:
    """The home of a participant with one app."""

    def __init__(self, base: Path, email: str = DS, app: str = "diabetes") -> None:
        self.base, self.email = base, email
        self.app_home = base / email / "apps" / app
        (self.app_home / "runs").mkdir(parents=True)

    def record(self, events: Iterable[Event], role: str = "aggregator", step: float = 0.01) -> Path:
        """Write the record of the run: one entry for each event, ``step`` seconds apart."""
        return self.write(entries(events, step=step), role)

    def write(self, found: Iterable[RecordEntry], role: str = "aggregator") -> Path:
        path = record_path(self.app_home / "runs", RUN, role)
        path.write_bytes(b"".join(entry.encode() for entry in found))
        return path

    def serve(self, state: RunState | None = RunState.COMPLETED, cause: str = "", role: str = "aggregator") -> None:
        """Begin the run in the database of a side, and end it with a state."""
        side = Futures(self.app_home / "futures.db") if role == "aggregator" else Ledger(self.app_home / "ledger.db")
        with closing(side) as database:
            database.runs.begin(RUN, NOW, alone=False)
            if state:
                database.runs.end(RUN, state, cause, NOW + timedelta(minutes=1))

    def open(self, role: str = "aggregator") -> RecordedRun:
        return open_run(RUN, role=role, email=self.email, home=self.base)


def entries(
    events: Iterable[Event], *, process: str = "one", start: float = 0.0, step: float = 0.01, first: int = 1
) -> list[RecordEntry]:
    """Return one entry for each event, ``step`` seconds apart."""
    return [
        RecordEntry(
            n,
            NOW + timedelta(seconds=start + step * n),
            step * n,
            process,
            RUN,
            event.name,
            fields_of(event),
        )
        for n, event in enumerate(events, first)
    ]


def begun(role: str = "aggregator", **settings: str) -> RunStarted:
    return RunStarted(
        role, "diabetes", DS, versions=VERSIONS, fingerprints={DS: "6OHT YEWX 3YXH"}, settings=settings, pid=1
    )


def emails(number: int) -> list[str]:
    return [f"do{each}@hospital-{each}.org" for each in range(1, number + 1)]


def training(owners: Iterable[str], rounds: int, kinds: Iterable[str] = ("train", "evaluate")) -> Iterator[Event]:
    """Yield the events of a whole run in which each request got a good reply with metrics."""
    owners, kinds = list(owners), list(kinds)
    yield begun(transport="syftbox", msg_timeout="120")
    for number in range(1, rounds + 1):
        yield RoundStarted(str(number), rounds)
        for kind in kinds:
            for place, owner in enumerate(owners):
                yield RequestSent(f"{kind}-{number}-{place}", owner, kind, round=str(number), bytes=51_234 + place)
            for place, owner in enumerate(owners):
                yield good_reply(f"{kind}-{number}-{place}", owner, kind, number, place)
            loss = 1 / number
            yield Metrics(str(number), kind, {"loss": loss, "accuracy": 1 - loss / 2})
    yield RunEnded("completed")


def good_reply(message: str, owner: str, kind: str, number: int, place: int) -> RequestEnded:
    noise = random.Random(message)
    seconds = {phase: round(value * noise.uniform(0.6, 1.6), 4) for phase, value in _PHASES.items()}
    loss = (1 + place % 5 / 10) / number
    metrics = {"loss": loss, "accuracy": 1 - loss / 2, "num-examples": 300 + place}
    return RequestEnded(
        message,
        owner,
        kind,
        "answered",
        round=str(number),
        bytes=61_234 + noise.randrange(99),
        seconds=seconds,
        metrics=metrics,
    )


def failed_reply(message: str, owner: str, kind: str = "train", number: int = 1, text: str = "") -> RequestEnded:
    return RequestEnded(
        message,
        owner,
        kind,
        "failed",
        round=str(number),
        reason="app-raised",
        text=text or "the ClientApp raised ValueError",
        bytes=1_500,
        seconds={"transfer": 0.5},
        reference="log line 4711",
    )


def serving(rounds: int, email: str = "do1@hospital-1.org") -> Iterator[Event]:
    """Yield the events of the run at a data owner."""
    yield begun("datasite", email=email)
    for number in range(1, rounds + 1):
        message = f"m{number}"
        yield RequestReceived(message, DS, "train", round=str(number), bytes=51_234, digest=f"{number:064x}")
        yield RequestStarted(message)
        yield ReplyReleased(
            message,
            DS,
            "answered",
            round=str(number),
            bytes=61_234,
            records=("arrays", "metrics"),
            metrics={"loss": 1 / number},
            seconds={"download": 0.01, "wait": 0.02, "open": 0.003, "run": 0.4, "seal": 0.004},
        )
    yield RunEnded("completed")
