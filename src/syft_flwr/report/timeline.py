"""The time of requests by phase: a bar for each request on the clock of the run, or one bar with the sums of each owner."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from syft_flwr.report.facts import Facts
from syft_flwr.report.numbers import seconds_by
from syft_flwr.runs.history import RecordedRequest

#: Data owners, and requests, up to which each request has its own bar.
_MOST_OWNERS = 8
_MOST_REQUESTS = 160
#: Requests of one data owner at the same time up to which each request has its own bar.
_MOST_LANES = 4


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the time of a request."""

    #: The name of its colour in the style sheet.
    name: str
    label: str
    #: The names of its seconds in the record.
    keys: tuple[str, ...]


SENDING = Phase("agg", "sealing and opening at the aggregator", ("seal",))
RECEIVING = Phase("agg", SENDING.label, ("open",))
WAY = Phase("way", "on the way, both directions", ("transfer", "download"))
WAITING = Phase("wait", "waiting at the data owner", ("wait",))
OPENING = Phase("open", "opening", ("open_request",))
RUNNING = Phase("run", "running the app", ("run",))
SEALING = Phase("seal", "sealing", ("seal_reply",))
#: The time of a request that failed, and of one that is open or for which the aggregator did not wait.
FAILED = Phase("lost", "failed", ())
UNANSWERED = Phase("idle", "open, or not awaited", ())
#: The phases in the order in which a bar shows them, by the role of the record.
PHASES = {
    "aggregator": (SENDING, WAY, WAITING, OPENING, RUNNING, SEALING, RECEIVING),
    "datasite": (
        Phase("way", "arrival of the rest of the request", ("download",)),
        Phase("wait", "waiting", ("wait",)),
        Phase("open", OPENING.label, ("open",)),
        RUNNING,
        Phase("seal", SEALING.label, ("seal",)),
    ),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a request, or the sums of one data owner."""

    #: Seconds after the first request; 0 for sums.
    start: float
    parts: tuple[tuple[Phase, float], ...]
    lane: int = 0
    #: The number of its requests with a known time.
    timed: int = 1

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.parts)

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """The bars of one data owner; at a data owner, those of one kind of request."""

    name: str
    requests: int
    bars: tuple[Bar, ...]

    @property
    def lanes(self) -> int:
        return max((bar.lane for bar in self.bars), default=0) + 1

    @property
    def seconds(self) -> float:
        return sum(bar.seconds for bar in self.bars)

    @property
    def unknown(self) -> int:
        """Return the number of requests whose time is not known: they were never sent, or their begin was lost."""
        return self.requests - sum(bar.timed for bar in self.bars)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The rows of a timeline."""

    rows: tuple[TimelineRow, ...]
    #: The role of the record.
    role: str
    #: Whether the bars are sums, and not single requests on the clock of the run.
    is_summed: bool
    #: Requests of which the reply is that of an earlier process, so that their time is not on this clock.
    replayed: int = 0
    #: The begins of rounds, in seconds after the first request.
    rounds: tuple[tuple[str, float], ...] = ()

    @property
    def phases(self) -> list[Phase]:
        """Return the phases with any time, one for each label, in the order of a bar."""
        order = {phase.label: phase for row in self.rows for bar in row.bars for phase, _ in bar.parts}
        known = dict.fromkeys(phase.label for phase in (*PHASES[self.role], FAILED, UNANSWERED))
        return [order[label] for label in known if label in order]


def parts_of(request: RecordedRequest, facts: Facts) -> tuple[tuple[Phase, float], ...]:
    """Return the phases of a request with their seconds, without those that took no time."""
    known = seconds_by(request.seconds)
    phases = PHASES[facts.run.role]
    parts = tuple((phase, total) for phase in phases if (total := sum(known.get(key, 0.0) for key in phase.keys)))
    if request.outcome == "answered":
        return parts
    seconds = request.seconds_total
    if request.has_failed:
        # The phases of a failed request are not all known, so they would be a false account of its time.
        lost = sum(known.values()) if seconds is None else seconds
        return ((FAILED, lost),) if lost or seconds is not None else ()
    if seconds is None and not request.outcome and facts.view.updated:
        seconds = (facts.view.updated - request.started).total_seconds()
    return ((UNANSWERED, max(0.0, seconds or 0.0)),)


def timeline_of(facts: Facts) -> Timeline:
    """Return the timeline of a run: single requests of a small run, and sums of a large one."""
    found: dict[str, list[RecordedRequest]] = defaultdict(list)
    timed = [request for request in facts.requests if not request.replayed]
    for request in timed:
        found[request.peer if facts.is_aggregator else request.kind].append(request)
    replayed = len(facts.requests) - len(timed)
    first = min((request.started for request in timed), default=None)
    is_small = len(found) <= _MOST_OWNERS and len(timed) <= _MOST_REQUESTS
    rows = (
        [TimelineRow(name, len(each), tuple(_bars(each, facts, first))) for name, each in sorted(found.items())]
        if first and is_small
        else []
    )
    if first is None or not is_small or any(row.lanes > _MOST_LANES for row in rows):
        rows = [TimelineRow(name, len(each), (_sum(each, facts),)) for name, each in found.items()]
        return Timeline(
            tuple(sorted(rows, key=lambda row: -row.seconds)), facts.run.role, is_summed=True, replayed=replayed
        )
    # A round with kept replies alone began in an earlier process.
    names = {request.round for request in timed}
    rounds = tuple(
        (each.number, max(0.0, (each.started - first).total_seconds()))
        for each in facts.history.rounds
        if each.number in names
    )
    return Timeline(tuple(rows), facts.run.role, is_summed=False, replayed=replayed, rounds=rounds)


def _sum(requests: Iterable[RecordedRequest], facts: Facts) -> Bar:
    sums: dict[Phase, float] = defaultdict(float)
    timed = 0
    for request in requests:
        parts_of_request = parts_of(request, facts)
        timed += bool(parts_of_request)
        for phase, seconds in parts_of_request:
            sums[SENDING if phase is RECEIVING else phase] += seconds
    order = [*PHASES[facts.run.role], FAILED, UNANSWERED]
    parts = tuple((phase, sums[phase]) for phase in order if phase in sums)
    return Bar(0.0, parts, timed=timed)


def _bars(requests: Sequence[RecordedRequest], facts: Facts, first: datetime) -> Iterable[Bar]:
    """Yield the bars of one row. Requests at the same time get different lanes."""
    ends: list[float] = []
    for request in sorted(requests, key=lambda each: each.started):
        parts = parts_of(request, facts)
        start = (request.started - first).total_seconds()
        if facts.is_aggregator and parts and parts[0][0] is SENDING:
            # The event of a request comes after its sealing.
            start -= parts[0][1]
        lane = next((number for number, end in enumerate(ends) if end <= start), len(ends))
        bar = Bar(start, parts, lane, timed=bool(parts))
        ends[lane : lane + 1] = [bar.end]
        yield bar
