"""Records of runs that no process made: of any size, with failures, hostile texts or a resume, in the home of a participant."""

import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
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

    def record(self, events: Iterable[Event | tuple[float, Event]], role: str = "aggregator") -> Path:
        """Write the record of the run."""
        return self.write(entries(events), role)

    def write(self, found: Iterable[RecordEntry], role: str = "aggregator") -> Path:
        path = record_path(self.app_home / "runs", RUN, role)
        path.write_bytes(b"".join(entry.encode() for entry in found))
        return path

    def serve(
        self,
        state: RunState | None = RunState.COMPLETED,
        cause: str = "",
        role: str = "aggregator",
        seconds: float = 60,
    ) -> None:
        """Begin the run in the database of a side, and end it with a state."""
        side = Futures(self.app_home / "futures.db") if role == "aggregator" else Ledger(self.app_home / "ledger.db")
        with closing(side) as database:
            database.runs.begin(RUN, NOW, alone=False)
            if state:
                database.runs.end(RUN, state, cause, NOW + timedelta(seconds=seconds))

    def open(self, role: str = "aggregator") -> RecordedRun:
        return open_run(RUN, role=role, email=self.email, home=self.base)


def entries(
    events: Iterable[Event | tuple[float, Event]], *, process: str = "one", start: float = 0.0, step: float = 0.01
) -> list[RecordEntry]:
    """Return one entry for each event: at its seconds after the start, or ``step`` seconds after the one before."""
    found: list[RecordEntry] = []
    elapsed = 0.0
    for n, each in enumerate(events, 1):
        elapsed, event = each if isinstance(each, tuple) else (elapsed + step, each)
        time = NOW + timedelta(seconds=start + elapsed)
        found.append(RecordEntry(n, time, elapsed, process, RUN, event.name, fields_of(event)))
    return found


def begun(role: str = "aggregator", **settings: str) -> RunStarted:
    return RunStarted(
        role, "diabetes", DS, versions=VERSIONS, fingerprints={DS: "6OHT YEWX 3YXH"}, settings=settings, pid=1
    )


def emails(number: int) -> list[str]:
    return [f"do{each}@hospital-{each}.org" for each in range(1, number + 1)]


def training(
    owners: Iterable[str], rounds: int, kinds: Iterable[str] = ("train", "evaluate")
) -> Iterator[tuple[float, Event]]:
    """Yield the events of a whole run in which each request got a good reply with metrics, with their seconds."""
    owners, kinds, now = list(owners), list(kinds), 0.5
    yield now, begun(transport="syftbox", msg_timeout="120")
    for number in range(1, rounds + 1):
        yield now, RoundStarted(str(number), rounds)
        for kind in kinds:
            replies = []
            for place, owner in enumerate(owners):
                message = f"{kind}-{number}-{place}"
                now += 0.001
                yield now, RequestSent(message, owner, kind, round=str(number), bytes=51_234 + place)
                reply = good_reply(message, owner, kind, number, place)
                replies.append((now + sum(reply.seconds.values()), reply))
            yield from sorted(replies, key=lambda each: each[0])
            now = max(end for end, _ in replies) + 0.05
            loss = 1 / number
            yield now, Metrics(str(number), kind, {"loss": loss, "accuracy": 1 - loss / 2})
    yield now, RunEnded("completed")


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
        reference="4711c0ffee12",
    )


def serving(rounds: int) -> Iterator[tuple[float, Event]]:
    """Yield the events of the run at a data owner, with their seconds."""
    yield 0.5, begun("datasite", transport="syftbox")
    for number in range(1, rounds + 1):
        message = f"m{number}"
        yield number, RequestReceived(message, DS, "train", round=str(number), bytes=51_234, digest=f"{number:064x}")
        yield number + 0.033, RequestStarted(message)
        reply = ReplyReleased(
            message,
            DS,
            "answered",
            round=str(number),
            bytes=61_234,
            records=("arrays", "metrics"),
            metrics={"loss": 1 / number},
            seconds={"download": 0.01, "wait": 0.02, "open": 0.003, "run": 0.4, "seal": 0.004},
        )
        yield number + 0.437, reply
    yield rounds + 1, RunEnded("completed")


class PageWords(HTMLParser):
    """The texts of a page, its elements and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def words_of(page: str) -> str:
    """Return the texts of a page in one line."""
    return " ".join(" ".join(PageWords(page).texts).split())
