"""The lag between a change and the moment when a user sees it."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from syft_flwr.emulators.gdrive.faults import draw
from syft_flwr.emulators.gdrive.file_store import Lags, at_once

#: Seconds, or the bounds of a value that is drawn for each change.
Seconds = float | tuple[float, float]


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds until a change becomes visible, for each way to read it.

    Attributes:
        list_by_name: for all searches except listings of folders.
        list_by_parent: for listings of folders: searches with ``parents`` but no name, full text or property.
        changes: for ``changes.list``.
        permissions: for the effect of a new or revoked grant on its grantee.
        get: for get and download by id, including new files. No report of such a lag is known.
        deleted: for get and download by id, only for deletions.
    """

    list_by_name: Seconds = 0.0
    list_by_parent: Seconds = 0.0
    changes: Seconds = 0.0
    permissions: Seconds = 0.0
    get: Seconds = 0.0
    deleted: Seconds = 0.0

    @property
    def longest(self) -> float:
        """Return the longest of these lags, in seconds."""
        return max(upper(getattr(self, field.name)) for field in fields(self))


class LagTable:
    """The lag of each user.

    Args:
        seed: seed of the drawn values.
        common: returns the lag of users without their own.
    """

    def __init__(self, seed: int, common: Callable[[], Lag]) -> None:
        self._seed = seed
        self._common = common
        self.own: dict[str, Lag] = {}

    def of(self, email: str) -> Lag:
        return self.own.get(email) or self._common()

    def longest(self) -> float:
        return max(lag.longest for lag in (self._common(), *self.own.values()))

    def lags(self, email: str, *names: str) -> Lags:
        """Return the function that gives the longest of a user's lags with these names."""
        lag = self.of(email)
        bounds = [(name, getattr(lag, name)) for name in names]
        if not any(upper(each) for _, each in bounds):
            return at_once

        def seconds(file_id: str, number: int) -> float:
            return max(self._one(name, each, email, file_id, number) for name, each in bounds)

        return seconds

    def _one(self, name: str, seconds: Seconds, email: str, file_id: str, number: int) -> float:
        if not isinstance(seconds, tuple):
            return seconds
        low, high = seconds
        return low + (high - low) * draw(self._seed, "lag", name, email, file_id, number)


def upper(seconds: Seconds) -> float:
    return seconds[1] if isinstance(seconds, tuple) else seconds
