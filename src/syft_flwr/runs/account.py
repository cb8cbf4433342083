"""The account of one run: the sum of its events so far, for the status, the display and the result of a run."""

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from syft_flwr._store.futures import ReplyCount
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import CONTROL
from syft_flwr.runs.outcome import Loss, is_loss, loss_from, losses_of
from syft_flwr.runs.owner_counts import OwnerCounts, TransferProgress, UnansweredRequest

#: Failures of which the text is kept; the latest ones.
_KEPT_FAILURES = 100
#: A wait can be written so long before its first request, because two threads write these events.
_EARLIER = timedelta(seconds=1)


#: The heartbeats of a data owner in ``msg_timeout``, and the most seconds between two, as in docs/protocol.md.
_HEARTBEATS, LONGEST_INTERVAL = 4, 60.0


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """One request that failed. ``reason`` is a code, ``text`` is for people."""

    message: str
    data_owner: str
    round: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.data_owner} in round {self.round or '?'}: {self.reason}: {self.text}"


@dataclass(slots=True)
class RunAccount:
    """The sum of the events of one run at one participant."""

    #: ``running`` until the record has its end; empty before its first event.
    state: str = ""
    cause: str = ""
    role: str = ""
    app: str = ""
    started: datetime | None = None
    updated: datetime | None = None
    ended: datetime | None = None
    #: At an aggregator, the seconds between two heartbeats of a data owner.
    interval: float = LONGEST_INTERVAL
    resumed: int = 0
    round: str = ""
    #: The number of rounds of the strategy; 0 if it is not known.
    total_rounds: int = 0
    #: Requests: sent (at a data owner: received), with a reply, and failed.
    asked: int = 0
    answered: int = 0
    failed: int = 0
    #: The open requests by message.
    open: dict[str, UnansweredRequest] = field(default_factory=dict)
    #: At an aggregator, the end of the wait (None if it is not known) with its limit, and when that was written.
    until: datetime | None = None
    limit: str = ""
    waited: datetime | None = None
    #: At an aggregator that waits until more data owners are online: how many are, the least number, and since when.
    nodes_online: int = 0
    nodes_needed: int = 0
    nodes_awaited_since: datetime | None = None
    #: At a data owner: the aggregator, when its last heartbeat was found, and bytes of its requests and of the replies.
    aggregator: str = ""
    aggregator_heard: datetime | None = None
    bytes_received: int = 0
    bytes_sent: int = 0
    last_failure: str = ""
    owners: dict[str, OwnerCounts] = field(default_factory=dict)
    failures: deque[FailedRequest] = field(default_factory=lambda: deque(maxlen=_KEPT_FAILURES))
    #: Metrics by source, round and name.
    metrics: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    #: Warnings and errors in the log, and the latest one with its time.
    warnings: int = 0
    last_warning: str = ""
    warned: datetime | None = None
    lost: int = 0
    #: At an aggregator, the numbers of ended requests by data owner, kind and reason.
    ends: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: The losses in the end of the run; None before it.
    _final: tuple[Loss, ...] | None = None
    _released: set[str] = field(default_factory=set)
    #: Ids of the open control messages at a data owner; the event of a reply has no kind.
    _control: set[str] = field(default_factory=set)

    @property
    def has_ended(self) -> bool:
        return self.state not in ("", "running")

    @property
    def awaited(self) -> tuple[str, ...]:
        """Return the data owners with an open request, also one that waits for a key; empty at a data owner."""
        return tuple(sorted(email for email, owner in self.owners.items() if owner.awaited_since))

    @property
    def awaited_since(self) -> datetime | None:
        """Return when the first open request of an aggregator was sent, or began to wait; None if there is none."""
        return min(filter(None, (owner.awaited_since for owner in self.owners.values())), default=None)

    @property
    def knows_wait(self) -> bool:
        """Return whether the end of the wait was written after the first open request: it is not that of an earlier wait."""
        since = self.awaited_since
        return since is not None and self.waited is not None and self.waited >= since - _EARLIER

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Return the losses of an aggregator: those of the end of the run, before it those so far."""
        if self._final is not None:
            return self._final
        return losses_of(ReplyCount(*key, number) for key, number in self.ends.items())

    def add(self, entry: RecordEntry) -> None:
        """Add one event. Unknown events, and fields of another form, change nothing else."""
        self.updated = entry.time
        handler: Callable[[RecordEntry], None] | None = getattr(self, f"_on_{entry.event.replace('-', '_')}", None)
        if handler:
            handler(entry)

    def _owner(self, entry: RecordEntry) -> OwnerCounts:
        return self.owners.setdefault(entry.text("data_owner"), OwnerCounts())

    def _on_run_started(self, entry: RecordEntry) -> None:
        self.state, self.cause, self._final, self.ended = "running", "", None, None
        self.interval = _interval_of(entry)
        self.role, self.app = entry.text("role"), entry.text("app")
        self.aggregator = entry.text("aggregator")
        self.started = self.started or entry.time
        self.resumed = entry.number("resumed")
        if self.role == "aggregator":
            # The ServerApp starts again and sends all its requests again.
            self.asked = self.answered = self.failed = 0
            self.open.clear()
            # A request of an earlier process, and its kept reply, have no bytes in this one.
            self.owners = {
                email: OwnerCounts(bytes_sent=counts.bytes_sent, bytes_received=counts.bytes_received)
                for email, counts in self.owners.items()
            }
            self.failures.clear()
            self.ends.clear()
            self.until, self.limit, self.waited, self.nodes_awaited_since = None, "", None, None

    _on_run_resumed = _on_run_started

    def _on_run_ended(self, entry: RecordEntry) -> None:
        self.state, self.cause, self.ended = entry.text("state"), entry.text("cause"), entry.time
        self.open.clear()
        self.until, self.limit, self.waited, self.nodes_awaited_since = None, "", None, None
        for owner in self.owners.values():
            owner.open.clear()
            owner.keyless_since = None
        found = entry.fields.get("losses", ())
        if self.role == "aggregator" and isinstance(found, list | tuple):
            self._final = tuple(filter(None, map(loss_from, found)))

    def _on_round_started(self, entry: RecordEntry) -> None:
        self.round, self.total_rounds = entry.text("round"), entry.number("total") or self.total_rounds

    def _on_metrics(self, entry: RecordEntry) -> None:
        values = entry.fields.get("values")
        if isinstance(values, dict):
            rounds = self.metrics.setdefault(entry.text("source"), {})
            rounds.setdefault(entry.text("round"), {}).update(values)

    def _on_request_sent(self, entry: RecordEntry) -> None:
        if entry.fields.get("kind") == CONTROL:
            return
        owner = self._owner(entry)
        self.asked += 1
        owner.asked += 1
        owner.bytes_sent += entry.number("bytes")
        request = UnansweredRequest(entry.text("kind"), entry.time)
        self.open[entry.text("message")] = owner.open[entry.text("message")] = request
        owner.keyless_since = None

        self.nodes_awaited_since = None

    def _on_request_held(self, entry: RecordEntry) -> None:
        self._note_stage(entry, entry.text("stage"))

    def _on_request_started(self, entry: RecordEntry) -> None:
        self._note_stage(entry, "running")

    def _note_stage(self, entry: RecordEntry, stage: str) -> None:
        if request := self.open.get(entry.text("message")):
            request.stage, request.stage_since = stage, entry.time

    def _on_request_progress(self, entry: RecordEntry) -> None:
        self._note_progress(entry, "request")

    def _on_reply_progress(self, entry: RecordEntry) -> None:
        self._note_progress(entry, "reply")

    def _note_progress(self, entry: RecordEntry, of: str) -> None:
        if request := self.open.get(entry.text("message")):
            numbers = (entry.number(name) for name in ("arrived", "total", "bytes", "total_bytes"))
            request.progress = TransferProgress(of, *numbers)

    def _on_seen(self, entry: RecordEntry) -> None:
        owner = self._owner(entry)
        owner.last_heartbeat, owner.silent = entry.time, False

    def _on_silent(self, entry: RecordEntry) -> None:
        self._owner(entry).silent = True

    def _on_heard(self, entry: RecordEntry) -> None:
        for email in entry.texts("data_owners"):
            if owner := self.owners.get(email):
                owner.last_heartbeat, owner.silent = entry.time, False

    def _on_aggregator_heard(self, entry: RecordEntry) -> None:
        self.aggregator_heard = entry.time

    def _on_nodes_awaited(self, entry: RecordEntry) -> None:
        self.nodes_online, self.nodes_needed = entry.number("online"), entry.number("needed")
        self.nodes_awaited_since = self.nodes_awaited_since or entry.time

    def _on_waiting(self, entry: RecordEntry) -> None:
        self.nodes_awaited_since = None
        self.until, self.limit, self.waited = None, entry.text("limit"), entry.time
        with suppress(ValueError, OverflowError):
            until = datetime.fromisoformat(entry.text("until"))
            self.until = until.astimezone(UTC) if until.tzinfo else None
        keyless = entry.texts("without_key")
        for email in keyless:
            self.owners.setdefault(email, OwnerCounts())
        for email, owner in self.owners.items():
            owner.keyless_since = (owner.keyless_since or entry.time) if email in keyless else None

    def _on_request_ended(self, entry: RecordEntry) -> None:
        if entry.fields.get("kind") == CONTROL:
            return
        owner = self._owner(entry)
        owner.open.pop(entry.text("message"), None)
        owner.keyless_since = None
        if self.open.pop(entry.text("message"), None) is None:
            # It was never sealed, or the event of its sending was lost.
            self.asked += 1
            owner.asked += 1
        owner.bytes_received += entry.number("bytes")
        if entry.number("bytes") and not entry.fields.get("replayed"):
            owner.last_reply, owner.silent = entry.time, False
        reason = _reason_of(entry)
        self.ends[entry.text("data_owner"), entry.text("kind"), reason] += 1
        if not reason:
            self.answered += 1
            owner.answered += 1
        if not is_loss(reason):
            return
        self.failed += 1
        owner.failed += 1
        names = ("message", "data_owner", "round", "reason", "text")
        failure = FailedRequest(*(entry.text(name) for name in names))
        owner.last_failure = f"{failure.reason}: {failure.text}"
        self.failures.append(failure)

    def _on_request_received(self, entry: RecordEntry) -> None:
        if entry.fields.get("kind") == CONTROL:
            self._control.add(entry.text("message"))
            return
        # A restarted client reads its open requests again.
        if entry.text("message") not in self.open:
            self.asked += 1
            self.bytes_received += entry.number("bytes")
            self.aggregator_heard = entry.time
        self.round = entry.text("round") or self.round
        self.open[entry.text("message")] = UnansweredRequest(entry.text("kind"), entry.time)

    def _on_reply_released(self, entry: RecordEntry) -> None:
        message = entry.text("message")
        if message in self._control:
            return
        self.round = entry.text("round") or self.round
        # A restarted client writes its open replies again.
        if message not in self._released:
            self._released.add(message)
            self.open.pop(message, None)
            reason = _reason_of(entry)
            self.answered += not reason
            self.failed += is_loss(reason)
            self.bytes_sent += entry.number("bytes")
            if is_loss(reason):
                self.last_failure = f"{reason}: {entry.text('text')}"

    def _on_request_closed(self, entry: RecordEntry) -> None:
        message = entry.text("message")
        self.open.pop(message, None)
        self._released.discard(message)
        self._control.discard(message)

    def _on_warning(self, entry: RecordEntry) -> None:
        self.warnings += 1
        self.last_warning, self.warned = entry.text("text"), entry.time

    def _on_lost(self, entry: RecordEntry) -> None:
        # An event that only the subscriber lost is in the record.
        if entry.fields.get("place") != "subscriber":
            self.lost += entry.number("count")


def _interval_of(entry: RecordEntry) -> float:
    """Return the seconds between two heartbeats by the settings in the begin of a run; the longest ones without a limit."""
    with suppress(ValueError):
        found = float(str(entry.mapping("settings").get("msg_timeout")))
        return min(LONGEST_INTERVAL, max(0.0, found) / _HEARTBEATS)
    return LONGEST_INTERVAL


def _reason_of(entry: RecordEntry) -> str:
    """Return why a request or a reply failed; empty for a good one."""
    return "" if entry.fields.get("outcome") == "answered" else entry.text("reason") or "unknown"
