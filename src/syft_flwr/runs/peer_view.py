"""The view of one other participant of a run at one moment: its presence, its work, its replies and its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from syft_flwr.runs.account import LONGEST_INTERVAL, RunAccount
from syft_flwr.runs.owner_counts import OwnerCounts, TransferProgress, UnansweredRequest
from syft_flwr.text import duration, role_word, size

#: The state of a run that a process serves, but which writes no events. Also the presence of a participant without
#: heartbeats.
SILENT = "silent"
_SEEN = "seen"
#: Seconds after the longest interval of heartbeats until one counts as late.
_MARGIN = 5.0
#: Seconds after which an aggregator without a heartbeat or a request counts as silent. Over transports with expensive
#: writes, it writes a heartbeat every few minutes.
_AGGREGATOR_SILENT_AFTER = 600.0
#: The columns of :meth:`PeerView.as_row`.
COLUMNS = ("Participant", "Seen", "Doing", "Replies", "Failed", "Sent", "Received")


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another participant: a data owner for the aggregator, the aggregator for a data owner."""

    email: str
    role: str
    #: ``online``, ``seen`` (its next heartbeat is late), ``silent``, ``not seen yet``; empty after the end of the run.
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
        doing = f"{self.doing} for {duration(seconds_since(self.since, now))}" if self.since else self.doing
        reason = self.last_failure.partition(": ")[0]
        failed = f"{self.failed}: {reason}" if reason else str(self.failed)
        replies = f"{self.answered} of {self.asked}"
        return (self.email, self._seen(now), doing, replies, failed, size(self.bytes_sent), size(self.bytes_received))

    def _seen(self, now: datetime) -> str:
        if self.last_seen is None:
            return f"{SILENT}, never seen" if self.presence == SILENT else self.presence or "never"
        if not self.presence:
            # A picture of an ended run stays, for example in a notebook.
            return f"{self.last_seen.astimezone():%Y-%m-%d %H:%M:%S}"
        separator = " " if self.presence == _SEEN else ", "
        return f"{self.presence}{separator}{duration(seconds_since(self.last_seen, now))} ago"

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON; times in ISO 8601."""
        progress = self.progress
        return {
            "email": self.email,
            "role": role_word(self.role),
            "presence": self.presence or None,
            "last-seen": iso_moment(self.last_seen),
            "doing": self.doing or None,
            "since": iso_moment(self.since),
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


def owner_view(email: str, account: RunAccount, now: datetime, *, is_open: bool) -> PeerView:
    """Return the view of a data owner, for the aggregator of a run that ``is_open``."""
    counts = account.owners[email]
    presence = SILENT if counts.silent else _presence(counts.last_seen, now, account.interval)
    return _peer_view(email, "datasite", presence, counts.last_seen, counts, is_open=is_open)


def aggregator_view(account: RunAccount, now: datetime, *, is_open: bool) -> PeerView:
    """Return the view of the aggregator, for a data owner of a run that ``is_open``."""
    heard = account.aggregator_heard
    is_silent = heard is not None and seconds_since(heard, now) > _AGGREGATOR_SILENT_AFTER
    presence = SILENT if is_silent else _presence(heard, now, LONGEST_INTERVAL)
    return _peer_view(account.aggregator, "aggregator", presence, heard, account, is_open=is_open)


def _presence(last_seen: datetime | None, now: datetime, interval: float) -> str:
    if last_seen is None:
        return "not seen yet"
    return "online" if seconds_since(last_seen, now) <= interval + _MARGIN else _SEEN


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
    if is_open and isinstance(counts, OwnerCounts) and counts.keyless_since and not counts.open:
        doing, since = "its key is awaited", counts.keyless_since
    elif is_open:
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


def seconds_since(since: datetime | None, now: datetime) -> float:
    """Return the seconds between two times; 0 if the first one is not known."""
    return (now - since).total_seconds() if since else 0.0


def iso_moment(time: datetime | None) -> str | None:
    """Return a time in ISO 8601; None if it is not known."""
    return time.isoformat() if time else None
