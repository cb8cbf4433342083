"""Quotas: calls and units per minute, grants and uploaded bytes per day, and storage."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import ClassVar

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive.drive_errors import (
    RATE_LIMIT_PAGE,
    DriveError,
    rate_limit,
    sharing_limit,
    storage_full,
    upload_limit,
    user_rate_limit,
)

_DAY = 86400.0
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a user and of the project; None means no limit.

    Attributes:
        calls_per_minute_and_user: calls of one user.
        calls_per_minute: calls of all users.
        units_per_minute_and_user: quota units of one user.
        units_per_minute: quota units of all users.
        shares_per_day: grants by one user. Users report 50 to 60 for ordinary accounts.
        upload_per_day: bytes of content uploaded by one user.
        storage: bytes that a user may own; :meth:`Emulator.set_storage` sets them for one user.
        answer: response to a call over a rate limit: ``403``, ``429`` or ``429-html``.
        retry_after: form of the header ``Retry-After``: ``seconds``, ``date``, or None for no header.
    """

    calls_per_minute_and_user: int | None = None
    calls_per_minute: int | None = None
    units_per_minute_and_user: int | None = None
    units_per_minute: int | None = None
    shares_per_day: int | None = None
    upload_per_day: int | None = None
    storage: int | None = 15 << 30
    answer: str = "403"
    retry_after: str | None = None

    REAL: ClassVar["Limits"]
    LEGACY: ClassVar["Limits"]


#: The limits that Google publishes since May 2026, and the sharing limit that users report.
Limits.REAL = Limits(
    units_per_minute_and_user=325_000, units_per_minute=1_000_000, shares_per_day=50, upload_per_day=750 * 10**9
)
#: The limits of projects that were in use before May 2026.
Limits.LEGACY = Limits(
    calls_per_minute_and_user=12_000, calls_per_minute=12_000, shares_per_day=50, upload_per_day=750 * 10**9
)


class MinuteBucket:
    """A token bucket with the amount of one minute, refilled at a constant rate."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._left = float(limit)
        self._at = clock.monotonic()

    def wait(self, amount: float) -> float:
        """Return the seconds until ``amount`` is available; 0 if it is available now."""
        now = self._clock.monotonic()
        self._left = min(float(self.limit), self._left + (now - self._at) * self.limit / _MINUTE)
        self._at = now
        missing = min(amount, self.limit) - self._left
        return max(0.0, missing * _MINUTE / self.limit)

    def take(self, amount: float) -> None:
        self._left -= amount


class Quota:
    """Counts the use of each user against the limits. Not thread-safe: the service calls it with its lock held.

    Args:
        clock: gives the time.
        limits: returns the limits in force, which may change at any time.
    """

    def __init__(self, clock: Clock, limits: Callable[[], Limits]) -> None:
        self._clock = clock
        self._limits = limits
        self._buckets: dict[tuple[str, str], MinuteBucket] = {}
        self._shares: dict[str, deque[float]] = {}
        self._uploads: dict[str, deque[tuple[float, int]]] = {}
        self.storage: dict[str, int | None] = {}

    def charge(self, email: str, units: int) -> None:
        """Count a call.

        Raises:
            DriveError: 403 or 429, a rate limit is reached; the call is then not counted.
        """
        limits = self._limits()
        wanted = [
            (("calls", email), limits.calls_per_minute_and_user, 1),
            (("calls", ""), limits.calls_per_minute, 1),
            (("units", email), limits.units_per_minute_and_user, units),
            (("units", ""), limits.units_per_minute, units),
        ]
        buckets = [(self._bucket(key, limit), amount) for key, limit, amount in wanted if limit is not None]
        wait = max((bucket.wait(amount) for bucket, amount in buckets), default=0.0)
        if wait > 0:
            raise self._refusal(limits, wait)
        for bucket, amount in buckets:
            bucket.take(amount)

    def share(self, email: str) -> None:
        """Count a grant.

        Raises:
            DriveError: 403, the user has made too many grants in the last 24 hours.
        """
        limit = self._limits().shares_per_day
        made = self._shares.setdefault(email, deque())
        now = self._clock.monotonic()
        while made and made[0] <= now - _DAY:
            made.popleft()
        if limit is not None and len(made) >= limit:
            raise sharing_limit()
        made.append(now)

    def check_storage(self, email: str, used: int, added: int) -> None:
        """Check that new content fits into the user's storage.

        Args:
            email: the user.
            used: bytes that the user owns now.
            added: bytes that would be added.

        Raises:
            DriveError: 403, the storage would be exceeded.
        """
        limit = self.storage_limit(email)
        if added > 0 and limit is not None and used + added > limit:
            raise storage_full()

    def storage_limit(self, email: str) -> int | None:
        return self.storage.get(email, self._limits().storage)

    def upload(self, email: str, size: int) -> None:
        """Count uploaded bytes.

        Raises:
            DriveError: 403, the user has uploaded too many bytes in the last 24 hours.
        """
        limit = self._limits().upload_per_day
        made = self._uploads.setdefault(email, deque())
        now = self._clock.monotonic()
        while made and made[0][0] <= now - _DAY:
            made.popleft()
        if limit is not None and sum(each for _, each in made) + size > limit:
            raise upload_limit()
        made.append((now, size))

    def _bucket(self, key: tuple[str, str], limit: int) -> MinuteBucket:
        bucket = self._buckets.get(key)
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[key] = MinuteBucket(limit, self._clock)
        return bucket

    def _refusal(self, limits: Limits, wait: float) -> DriveError:
        headers = {}
        seconds = int(wait) + 1
        if limits.retry_after == "seconds":
            headers["Retry-After"] = str(seconds)
        elif limits.retry_after == "date":
            over = self._clock.now() + timedelta(seconds=seconds)
            headers["Retry-After"] = format_datetime(over, usegmt=True)
        if limits.answer == "403":
            return user_rate_limit(headers)
        return rate_limit(headers, RATE_LIMIT_PAGE if limits.answer == "429-html" else None)
