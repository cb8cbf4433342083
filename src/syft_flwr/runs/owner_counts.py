"""The open requests of a run, and the counts of all requests to one data owner."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """The part of a request or a reply that has arrived: numbers of objects, and bytes (0 if they are not known)."""

    #: ``request`` or ``reply``.
    of: str
    arrived: int
    total: int
    bytes: int = 0
    total_bytes: int = 0


@dataclass(slots=True)
class UnansweredRequest:
    """A request without an outcome."""

    kind: str
    #: When it was sent; at a data owner, when it was received.
    since: datetime
    #: ``waiting`` or ``running`` at the data owner; empty if that is not known.
    stage: str = ""
    stage_since: datetime | None = None
    progress: TransferProgress | None = None


@dataclass(slots=True)
class OwnerCounts:
    """The requests of the run to one data owner."""

    asked: int = 0
    answered: int = 0
    failed: int = 0
    last_failure: str = ""
    #: The open requests by message.
    open: dict[str, UnansweredRequest] = field(default_factory=dict)
    #: Since when requests that were not sent wait for its key; None if none does.
    keyless_since: datetime | None = None
    #: When the last heartbeat was found; None if none was.
    last_heartbeat: datetime | None = None
    #: When its last new reply arrived; None if none did.
    last_reply: datetime | None = None
    #: Whether two heartbeats in a row did not come.
    silent: bool = False
    #: Bytes of the requests that were written for it, and of its replies.
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def last_seen(self) -> datetime | None:
        """Return the time of its last heartbeat or reply. The first reply can be before a heartbeat."""
        return max(filter(None, (self.last_heartbeat, self.last_reply)), default=None)

    @property
    def awaited_since(self) -> datetime | None:
        """Return when the first open request was sent, or began to wait for a key; None if there is none."""
        return min(filter(None, (self.keyless_since, *(each.since for each in self.open.values()))), default=None)

    @property
    def working_on(self) -> tuple[str, datetime] | None:
        """Return the kind of the open request that the data owner works on, and since when; None if it is not known."""
        return next(
            (
                (each.kind, each.stage_since)
                for each in self.open.values()
                if each.stage == "running" and each.stage_since
            ),
            None,
        )
