"""Records of the files that the emulator delivered, deleted or refused, for tests to check and wait for."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

_KEPT = 20_000


class How(StrEnum):
    """The way of a change to another participant."""

    #: A push, soon after the file was written.
    REALTIME = "realtime"
    #: A full scan.
    SCAN = "scan"


class SyncOutcome(StrEnum):
    """The result of the transfer of one file."""

    #: The server accepted a change by ``sender``. The record has no recipient.
    ACCEPTED = "accepted"
    #: The file is in the recipient's folder.
    DELIVERED = "delivered"
    #: The file was deleted: by ``sender``, or in the folder of the recipient.
    DELETED = "deleted"
    #: The sender has no permission. A written file was renamed to ``.rejected``; a deleted one comes back.
    REFUSED = "refused"
    #: The sender changed a file that another participant had changed too. Its copy was renamed to ``.conflict``.
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Record:
    """One event of one file.

    Attributes:
        name: path of the file below ``datasites``.
        size: length of the file in bytes; 0 for a deletion.
        sender: email of the participant that made the change; empty if unknown.
        recipient: email of the participant that received the change; empty for an event at the sender.
        how: whether a push or a scan carried the change.
        outcome: the result.
    """

    name: str
    size: int
    sender: str
    recipient: str
    how: How
    outcome: SyncOutcome


class Traffic:
    """The latest 20,000 records in order of time, and counts of all records. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._records: deque[Record] = deque(maxlen=_KEPT)
        self._counts: Counter[tuple[SyncOutcome, How]] = Counter()

    def add(self, record: Record) -> None:
        """Add a record, count it, and wake the waiting threads."""
        with self._condition:
            self._records.append(record)
            self._counts[record.outcome, record.how] += 1
            self._condition.notify_all()

    @property
    def total(self) -> int:
        """Return the number of all events since the start."""
        with self._condition:
            return self._counts.total()

    def count(self, outcome: SyncOutcome, how: How | None = None) -> int:
        """Return the number of events since the start, including those with a record that is no longer kept."""
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
        """Return the kept records that match all arguments, oldest first.

        Args:
            name: pattern for the whole name; ``*`` also matches slashes.
            outcome: the result, or None for all.
            sender: email of the sender, or None for all.
            recipient: email of the recipient, or None for all.
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
        """Wait until ``predicate`` is true for a kept record; return False after ``timeout`` real seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: any(map(predicate, self._records)), timeout)
