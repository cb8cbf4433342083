"""How far what a user sees lies behind what was done."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from syft_flwr.emulators.gdrive.faults import draw
from syft_flwr.emulators.gdrive.file_store import Lags, at_once

#: Seconds, or the bounds between which they are drawn for each change.
Seconds = float | tuple[float, float]


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds until a change is seen.

    Attributes:
        list_by_name: by searches, whatever they ask for, unless they name a parent and neither name nor property.
        list_by_parent: by listings of folders.
        changes: by ``changes.list``.
        permissions: by the one to whom something is granted or from whom it is taken.
        get: by get and download with the id, also of new files. Reported never to happen.
        deleted: by get and download, for deletions only.
    """

    list_by_name: Seconds = 0.0
    list_by_parent: Seconds = 0.0
    changes: Seconds = 0.0
    permissions: Seconds = 0.0
    get: Seconds = 0.0
    deleted: Seconds = 0.0

    @property
    def longest(self) -> float:
        return max(upper(getattr(self, field.name)) for field in fields(self))


class LagTable:
    """The lag of every user.

    Args:
        common: returns the lag of those that have none of their own.
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
        """Return the function for a user's lags of these names; the longest of them counts."""
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
