"""The history of one run from its record: its account, and each round, request and warning in order."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import CONTROL
from syft_flwr.runs.outcome import is_loss

#: Warnings that are kept; the latest ones.
_KEPT_WARNINGS = 1_000


@dataclass(slots=True)
class RecordedRound:
    """One round. Its seconds end with the last reply so far."""

    number: str
    started: datetime
    seconds: float = 0.0
    asked: int = 0
    answered: int = 0
    failed: int = 0


@dataclass(slots=True)
class RecordedRequest:
    """One request: at the aggregator, from its sending on; at a data owner, from its arrival on."""

    message: str
    #: The email of the other side.
    peer: str
    kind: str
    round: str
    started: datetime
    #: ``answered`` or ``failed``; empty while the request is open.
    outcome: str = ""
    #: The code of the failure, and its text for people.
    reason: str = ""
    text: str = ""
    bytes_request: int = 0
    bytes_reply: int = 0
    #: Seconds by phase.
    seconds: Mapping[str, float] = field(default_factory=dict)
    #: Whether the reply is that of an earlier process of this run.
    replayed: bool = False
    ended: datetime | None = None
    #: Seconds from its start to its end; None if a clock of one process did not see both.
    seconds_total: float | None = None
    #: The metrics of a good reply, by name.
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_failed(self) -> bool:
        """Return whether it failed. One for which the aggregator did not wait (``late``, ``stopped``) did not."""
        return self.outcome not in ("", "answered") and is_loss(self.reason or "unknown")


@dataclass(frozen=True, slots=True)
class RecordedWarning:
    """One warning or error in the log of a process that served the run."""

    time: datetime
    level: str
    text: str
    #: The participant that it is about; empty if it is about none.
    peer: str = ""


@dataclass(slots=True)
class _OpenRound:
    """The latest round of a name, with the process that began it: only seconds of the same process can be subtracted."""

    round: RecordedRound
    process: str
    elapsed: float
    #: Whether a request opened it, and its own event has not come yet.
    is_early: bool = False

    def note(self, entry: RecordEntry) -> None:
        same = entry.process == self.process
        seconds = entry.elapsed - self.elapsed if same else (entry.time - self.round.started).total_seconds()
        self.round.seconds = round(max(0.0, seconds), 4)


class RunHistory:
    """Adds up the events of one record. An unknown event, or a field of another form, changes nothing else."""

    def __init__(self, entries: Iterable[RecordEntry] = ()) -> None:
        self.account = RunAccount()
        self.rounds: list[RecordedRound] = []
        self.requests: dict[str, RecordedRequest] = {}
        self.warnings: deque[RecordedWarning] = deque(maxlen=_KEPT_WARNINGS)
        #: The settings of the latest process, by name.
        self.settings: Mapping[str, str] = {}
        self._open_rounds: dict[str, _OpenRound] = {}
        #: By open request, the process with its start, and the seconds of that process then.
        self._starts: dict[str, tuple[str, float]] = {}
        #: Ids of messages that start or stop a run; the event of a reply has no kind.
        self._control: set[str] = set()
        self._handlers: dict[str, Callable[[RecordEntry], None]] = {
            "run-started": self._begin_run,
            "run-resumed": self._begin_run,
            "round-started": self._begin_round,
            "request-sent": self._begin_request,
            "request-received": self._begin_request,
            "request-ended": self._end_request,
            "reply-released": self._end_request,
            "warning": self._warn,
        }
        for entry in entries:
            self.add(entry)

    def add(self, entry: RecordEntry) -> None:
        """Add one event."""
        self.account.add(entry)
        if handler := self._handlers.get(entry.event):
            handler(entry)

    def _begin_run(self, entry: RecordEntry) -> None:
        self.settings = entry.mapping("settings")
        if self.account.role == "aggregator":
            # The ServerApp starts again and sends all its requests again.
            self.rounds.clear()
            self.requests.clear()
            self._starts.clear()
            self._open_rounds.clear()

    def _begin_round(self, entry: RecordEntry) -> None:
        early = self._open_rounds.get(entry.text("round"))
        if early and early.is_early and early.round is self.rounds[-1]:
            # A request of this round was faster.
            early.is_early = False
        else:
            self._add_round(entry.text("round"), entry)

    def _add_round(self, name: str, entry: RecordEntry, *, is_early: bool = False) -> None:
        begun = RecordedRound(name, entry.time)
        self.rounds.append(begun)
        self._open_rounds[name] = _OpenRound(begun, entry.process, entry.elapsed, is_early)

    def _begin_request(self, entry: RecordEntry) -> None:
        message = entry.text("message")
        if entry.fields.get("kind") == CONTROL:
            self._control.add(message)
        elif message not in self.requests:
            self._add_request(message, entry).bytes_request = entry.number("bytes")
            self._starts[message] = entry.process, entry.elapsed

    def _add_request(self, message: str, entry: RecordEntry) -> RecordedRequest:
        request = RecordedRequest(
            message=message,
            peer=entry.text("data_owner") or entry.text("aggregator"),
            kind=entry.text("kind"),
            round=entry.text("round"),
            started=entry.time,
        )
        if request.round:
            self._open_round(request.round, entry).round.asked += 1
        self.requests[message] = request
        return request

    def _end_request(self, entry: RecordEntry) -> None:
        message = entry.text("message")
        if message in self._control or entry.fields.get("kind") == CONTROL:
            return
        # An unknown one was never sealed, or the event of its sending was lost.
        request = self.requests.get(message) or self._add_request(message, entry)
        # A restarted client writes its open replies again.
        if request.outcome:
            return
        request.outcome, request.reason, request.text = (entry.text(name) for name in ("outcome", "reason", "text"))
        request.bytes_reply = entry.number("bytes")
        request.seconds = entry.mapping("seconds")
        request.replayed = entry.fields.get("replayed") is True
        request.metrics = entry.mapping("metrics")
        request.ended = entry.time
        process, elapsed = self._starts.pop(message, ("", 0.0))
        if process == entry.process:
            request.seconds_total = round(max(0.0, entry.elapsed - elapsed), 4)
        self._end_in_round(request, entry)

    def _end_in_round(self, request: RecordedRequest, entry: RecordEntry) -> None:
        if not request.round and (name := entry.text("round")):
            # A data owner knows the round only after the app got the request.
            request.round = name
            self._open_round(name, entry).round.asked += 1
        if open_round := self._open_rounds.get(request.round):
            open_round.note(entry)
            open_round.round.answered += request.outcome == "answered"
            open_round.round.failed += request.has_failed

    def _open_round(self, name: str, entry: RecordEntry) -> _OpenRound:
        """Return the round of a request. At a data owner, no event begins a round, so a new name does."""
        is_new = self.account.role == "datasite" and self.rounds[-1:] and self.rounds[-1].number != name
        if is_new or name not in self._open_rounds:
            self._add_round(name, entry, is_early=True)
        return self._open_rounds[name]

    def _warn(self, entry: RecordEntry) -> None:
        told = (entry.text(name) for name in ("level", "text", "peer"))
        self.warnings.append(RecordedWarning(entry.time, *told))
