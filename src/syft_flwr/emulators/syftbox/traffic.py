"""What the stand-in carried and what it refused, so that tests can assert it and wait for it."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

_KEPT = 20_000


class How(StrEnum):
    REALTIME = "realtime"
    SCAN = "scan"


class SyncOutcome(StrEnum):
    #: The server took a change of ``sender``; there is no recipient yet.
    ACCEPTED = "accepted"
    #: The file lies in the recipient's folder.
    DELIVERED = "delivered"
    #: The file was removed: by ``sender``, or for want of permission, from the recipient's folder.
    DELETED = "deleted"
    #: The sender may not do this; a written file was set aside, a deleted one comes back.
    REFUSED = "refused"
    #: The sender changed a file that somebody else had changed; hers was set aside.
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened to one file. ``recipient`` is empty for what has none."""

    name: str
    size: int
    sender: str
    recipient: str
    how: How
    outcome: SyncOutcome


class Traffic:
    """The latest records in order, and counts of all."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._records: deque[Record] = deque(maxlen=_KEPT)
        self._counts: Counter[tuple[SyncOutcome, How]] = Counter()

    def add(self, record: Record) -> None:
        with self._condition:
            self._records.append(record)
            self._counts[record.outcome, record.how] += 1
            self._condition.notify_all()

    @property
    def total(self) -> int:
        with self._condition:
            return self._counts.total()

    def count(self, outcome: SyncOutcome, how: How | None = None) -> int:
        """Return how often something happened since the start, of which not every record is still kept."""
        with self._condition:
            return sum(self._counts[outcome, each] for each in How if how in (None, each))

    def records(
        self,
        name: str = "*",
        *,
        outcome: SyncOutcome | None = SyncOutcome.DELIVERED,
        sender: str | None = None,
        recipient: str | None = None,
    ) -> list[Record]:
        """Return what happened, oldest first.

        Args:
            name: a pattern for the whole name, in which ``*`` also stands for slashes.
            outcome: None for all.
        """
        with self._condition:
            return [
                record
                for record in self._records
                if fnmatchcase(record.name, name)
                and outcome in (None, record.outcome)
                and sender in (None, record.sender)
                and recipient in (None, record.recipient)
            ]

    def wait_for(self, predicate: Callable[[Record], bool], timeout: float = 10.0) -> bool:
        """Wait until a kept record fits ``predicate``; False after ``timeout`` real seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: any(map(predicate, self._records)), timeout)
