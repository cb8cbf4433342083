"""The view of a run at one moment: its round, its participants and its wait, for the status and the live display.

All texts of these are made here, so that a table in a terminal, a notebook and JSON say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.local_run import INTERRUPTED
from syft_flwr.runs.owner_counts import OwnerCounts, TransferProgress, UnansweredRequest
from syft_flwr.text import counted, duration, role_word, shortened, size

#: The state of a run that a process serves, but which has written no event for longer than :data:`SILENT_AFTER`.
SILENT = "silent"
#: Seconds without an event. A living process writes a beat every 5 seconds.
SILENT_AFTER = 15.0
#: Seconds after which an aggregator without a heartbeat or a request counts as silent. Over transports with expensive
#: writes, it writes a heartbeat every few minutes.
_AGGREGATOR_SILENT_AFTER = 600.0
#: Characters of a warning in the status; its full text is in the log.
_MOST_WARNING = 500
#: The columns of :meth:`PeerView.as_row`.
COLUMNS = ("Participant", "Seen", "Doing", "Replies", "Failed", "Sent", "Received")
#: The limits of a wait, in words.
_LIMITS = {
    "ttl": "the lifetime of the request",
    "timeout": "the timeout of the call",
    "round_timeout": "round_timeout",
    "msg_timeout": "msg_timeout, the longest silence",
    "min_replies": "min_replies, the wait for the last replies",
}


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another participant: a data owner for the aggregator, the aggregator for a data owner."""

    email: str
    role: str
    #: ``online``, ``silent``, ``not seen yet``; empty after the end of the run.
    presence: str
    last_seen: datetime | None
    #: The work on the first open request, for people; empty after the end of the run.
    doing: str
    #: The begin of that; None if it is not known.
    since: datetime | None
    #: Requests: sent (at a data owner: received), with a good reply, and failed.
    asked: int
    answered: int
    failed: int
    last_failure: str
    bytes_sent: int
    bytes_received: int
    #: The part of a transfer that has arrived; None without one.
    progress: TransferProgress | None = None

    def as_row(self, now: datetime) -> tuple[str, ...]:
        """Return the cells below :data:`COLUMNS`."""
        seen = f"{duration(_seconds(self.last_seen, now))} ago" if self.last_seen else "never"
        presence = f"{self.presence}, {seen}" if self.presence in ("online", SILENT) else self.presence or seen
        doing = f"{self.doing} for {duration(_seconds(self.since, now))}" if self.since else self.doing
        failed = f"{self.failed}: {self.last_failure}" if self.last_failure else str(self.failed)
        replies = f"{self.answered} of {self.asked}"
        return (self.email, presence, doing, replies, failed, size(self.bytes_sent), size(self.bytes_received))

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON; times in ISO 8601."""
        progress = self.progress
        return {
            "email": self.email,
            "role": role_word(self.role),
            "presence": self.presence or None,
            "last-seen": _moment(self.last_seen),
            "doing": self.doing or None,
            "since": _moment(self.since),
            "asked": self.asked,
            "answered": self.answered,
            "failed": self.failed,
            "last-failure": self.last_failure or None,
            "bytes-sent": self.bytes_sent,
            "bytes-received": self.bytes_received,
            "transfer": progress
            and {
                "of": progress.of,
                "arrived": progress.arrived,
                "total": progress.total,
                "bytes": progress.bytes,
                "total-bytes": progress.total_bytes,
            },
        }


@dataclass(frozen=True, slots=True)
class RunView:
    """A run at one participant at the time ``now``."""

    run: str
    app: str
    #: ``aggregator`` or ``datasite``.
    role: str
    participant: str
    #: ``running``, ``silent``, ``interrupted``, ``completed``, ``failed`` or ``stopped``.
    state: str
    cause: str
    now: datetime
    started: datetime | None
    #: The time of the last event; at most 5 seconds old as long as the process lives.
    updated: datetime | None
    round: str
    total_rounds: int
    #: The data owners that the aggregator waits for, since when, and the next end of the wait with its limit.
    awaited: tuple[str, ...]
    awaited_since: datetime | None
    until: datetime | None
    limit: str
    peers: tuple[PeerView, ...]
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    #: The number of warnings and errors in the log so far, and the latest one with its time.
    warnings: int = 0
    last_warning: str = ""
    warned: datetime | None = None

    def headline(self) -> str:
        """Return the state, the round and the run in one line."""
        round_text = f", round {self.round} of {self.total_rounds or '?'}" if self.round else ""
        ran = f" for {duration(_seconds(self.started, self.now))}" if self.started and self.is_open else ""
        local = f"{self.app}, {role_word(self.role)} {self.participant}".strip()
        return f"Run {self.run} of {local}: {self.state}{ran}{round_text}{self._why()}"

    def silence(self) -> str:
        """Return the time since the last event, for people."""
        return duration(_seconds(self.updated, self.now))

    def _why(self) -> str:
        if self.state == SILENT:
            return f"; its process wrote nothing for {self.silence()}"
        return f" ({self.cause})" if self.cause else ""

    def of(self, role: str, started: datetime | None) -> "RunView":
        """Return this view with the role and the start of the run where its record does not tell them."""
        return replace(self, role=self.role or role, started=self.started or started)

    @property
    def is_open(self) -> bool:
        """Return whether a process serves the run."""
        return self.state in ("running", SILENT)

    def wait(self) -> str:
        """Return the awaited data owners, since when, and the end of the wait; empty if the run waits for none."""
        if not self.awaited or not self.is_open:
            return ""
        names = self.awaited[0] if len(self.awaited) == 1 else f"{len(self.awaited)} data owners"
        since = f" for {duration(_seconds(self.awaited_since, self.now))}" if self.awaited_since else ""
        if self.until is None:
            return f"Waits for {names}{since}"
        rest = f"ends in {duration(-_seconds(self.until, self.now))}" if self.until > self.now else "ends now"
        return f"Waits for {names}{since}; the wait {rest} ({_LIMITS.get(self.limit, self.limit)})"

    def warning(self) -> str:
        """Return the latest warning of a run without an end, in one line; empty without one."""
        if not self.last_warning or not (self.is_open or self.state == INTERRUPTED):
            return ""
        text = shortened(" ".join(self.last_warning.split()), _MOST_WARNING)
        return (
            f"{counted(self.warnings, 'warning')}, the latest {duration(_seconds(self.warned, self.now))} ago: {text}"
        )

    def latest_metrics(self) -> str:
        """Return the metrics of the latest round of each source in one line; empty without any."""
        shown = []
        for source, by_round in self.metrics.items():
            if by_round:
                number, values = list(by_round.items())[-1]
                pairs = ", ".join(f"{name} {_value(value)}" for name, value in values.items())
                shown.append(f"{source} (round {number}): {pairs}")
        return "; ".join(shown)

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON. Ids are strings, because they are larger than the safe integers of JSON."""
        return {
            "run-id": self.run,
            "app": self.app,
            "role": role_word(self.role),
            "participant": self.participant,
            "state": self.state,
            "cause": self.cause or None,
            "time": _moment(self.now),
            "started": _moment(self.started),
            "updated": _moment(self.updated),
            "round": self.round or None,
            "total-rounds": self.total_rounds or None,
            "awaited": list(self.awaited),
            "awaited-since": _moment(self.awaited_since),
            "wait-ends": _moment(self.until),
            "limit": self.limit or None,
            "participants": [peer.as_fields() for peer in self.peers],
            "metrics": self.metrics,
            "warnings": self.warnings,
            "last-warning": self.last_warning or None,
            "warned": _moment(self.warned),
        }


def state_now(state: str, updated: datetime | None, now: datetime) -> str:
    """Return the state of a run that a process serves: :data:`SILENT` if it is running, but wrote no event for long."""
    return SILENT if state == "running" and updated and _seconds(updated, now) > SILENT_AFTER else state


def view_of(
    account: RunAccount,
    now: datetime,
    *,
    run: str,
    app: str,
    participant: str,
    state: str = "",
    cause: str = "",
    is_served: bool = True,
) -> RunView:
    """Return the view of a run.

    Args:
        account: the sum of its events so far.
        now: the present time, aware.
        run: its name for commands.
        app: the name of its app.
        participant: the email of the participant that recorded it.
        state: the recorded state, if the database has one; by default that of the account.
        cause: the recorded cause of the end, for people.
        is_served: whether a process serves it.
    """
    known = state or account.state or "running"
    known = INTERRUPTED if known == "running" and not is_served else state_now(known, account.updated, now)
    is_open = known in ("running", SILENT)
    is_limited = is_open and account.knows_wait
    peers = (
        tuple(_owner_view(email, counts, is_open=is_open) for email, counts in sorted(account.owners.items()))
        if account.role == "aggregator"
        else (_aggregator_view(account, now, is_open=is_open),)
        if account.role
        else ()
    )
    return RunView(
        run=run,
        app=app,
        role=account.role,
        participant=participant,
        state=known,
        cause=cause or account.cause,
        now=now,
        started=account.started,
        updated=account.updated,
        round=account.round,
        total_rounds=account.total_rounds,
        awaited=account.awaited if is_open else (),
        awaited_since=account.awaited_since if is_open else None,
        until=account.until if is_limited else None,
        limit=account.limit if is_limited else "",
        peers=peers,
        metrics=account.metrics,
        warnings=account.warnings,
        last_warning=account.last_warning,
        warned=account.warned,
    )


def _owner_view(email: str, counts: OwnerCounts, *, is_open: bool) -> PeerView:
    presence = SILENT if counts.silent else "online" if counts.last_seen else "not seen yet"
    return _peer_view(email, "datasite", presence, counts.last_seen, counts, is_open=is_open)


def _aggregator_view(account: RunAccount, now: datetime, *, is_open: bool) -> PeerView:
    heard = account.aggregator_heard
    is_silent = heard is not None and _seconds(heard, now) > _AGGREGATOR_SILENT_AFTER
    presence = SILENT if is_silent else "online" if heard else "not seen yet"
    return _peer_view(account.aggregator, "aggregator", presence, heard, account, is_open=is_open)


def _peer_view(
    email: str,
    role: str,
    presence: str,
    last_seen: datetime | None,
    counts: OwnerCounts | RunAccount,
    *,
    is_open: bool,
) -> PeerView:
    doing, since, progress = "", None, None
    if is_open:
        doing, since, progress = _work(counts.open, is_owner=role == "aggregator")
    return PeerView(
        email=email,
        role=role,
        presence=presence if is_open else "",
        last_seen=last_seen,
        doing=doing,
        since=since,
        asked=counts.asked,
        answered=counts.answered,
        failed=counts.failed,
        last_failure=counts.last_failure,
        bytes_sent=counts.bytes_sent,
        bytes_received=counts.bytes_received,
        progress=progress,
    )


def _work(
    requests: Mapping[str, UnansweredRequest], *, is_owner: bool
) -> tuple[str, datetime | None, TransferProgress | None]:
    """Return the work on the most advanced open request, since when, and the progress of its transfer."""
    if not requests:
        return "idle", None, None
    first = max(requests.values(), key=_advance)
    progress = first.progress
    if progress and progress.of == "reply":
        return f"{first.kind}: {_part(progress)}", first.stage_since or first.since, progress
    if first.stage == "running":
        return f"works on {first.kind}" if not is_owner else f"{first.kind} runs", first.stage_since, progress
    if progress and progress.arrived < progress.total:
        return f"{first.kind}: {_part(progress)}", first.since, progress
    if first.stage == "waiting" or is_owner:
        return f"has the {first.kind} request" if not is_owner else f"{first.kind} waits", first.stage_since, progress
    return f"{first.kind} request sent", first.since, progress


def _advance(request: UnansweredRequest) -> tuple[bool, bool, bool, bool]:
    progress = request.progress
    is_reply = progress is not None and progress.of == "reply"
    return is_reply, request.stage == "running", request.stage == "waiting", progress is not None


def _part(progress: TransferProgress) -> str:
    sizes = f" ({size(progress.bytes)} of {size(progress.total_bytes)})" if progress.total_bytes else ""
    return f"{progress.arrived} of {progress.total} parts of the {progress.of} arrived{sizes}"


def _seconds(since: datetime | None, now: datetime) -> float:
    return (now - since).total_seconds() if since else 0.0


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _moment(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
