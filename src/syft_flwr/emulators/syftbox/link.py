"""Network conditions of the emulator: delay, reordering, outages and lost pushes."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from syft_flwr.emails import normalise

T = TypeVar("T")


class Link:
    """The network conditions between the participants. Every attribute may be changed while the network runs.

    Attributes:
        delay: seconds from the acceptance of a change to its arrival; one value, or a function of the file name.
        drop: whether a real-time push is lost; one value, or a function of the file name. The next scan still carries
            the file.
    """

    def __init__(
        self, *, delay: float | Callable[[str], float] = 0.0, drop: bool | Callable[[str], bool] = False
    ) -> None:
        self.delay = delay
        self.drop = drop
        self._lock = threading.Lock()
        self._offline: set[str] = set()
        self._everybody_offline = False
        self._random: random.Random | None = None
        self._spread = 0.0

    def reorder(self, seed: int | None, spread: float = 0.1) -> None:
        """Add up to ``spread`` random seconds to every delay, so that changes arrive in another order.

        Args:
            seed: seed of the random delays; None turns them off.
            spread: the largest added delay, in seconds.
        """
        with self._lock:
            self._random = None if seed is None else random.Random(seed)
            self._spread = spread

    def delay_of(self, name: str) -> float:
        """Return the seconds from the acceptance of a change of this file to its arrival."""
        delay = self.delay(name) if callable(self.delay) else self.delay
        with self._lock:
            return delay + (self._random.uniform(0, self._spread) if self._random else 0.0)

    def shuffled(self, items: list[T]) -> list[T]:
        """Return ``items`` in a random order if reordering is on, and unchanged if it is off."""
        with self._lock:
            return self._random.sample(items, len(items)) if self._random else items

    def drops(self, name: str) -> bool:
        """Return whether a push of this file is lost."""
        return self.drop(name) if callable(self.drop) else self.drop

    def is_online(self, email: str) -> bool:
        """Return whether a participant is online."""
        with self._lock:
            return not self._everybody_offline and email not in self._offline

    def disconnect(self, *emails: str) -> None:
        """Take the named participants offline, or all if none is named. Their programs can still write files."""
        with self._lock:
            self._everybody_offline |= not emails
            self._offline.update(map(normalise, emails))

    def connect(self, *emails: str) -> None:
        """Bring the named participants online again, or all if none is named.

        The next scan carries the changes of the time offline.
        """
        with self._lock:
            if not emails:
                self._everybody_offline = False
                self._offline.clear()
            self._offline.difference_update(map(normalise, emails))

    @contextlib.contextmanager
    def outage(self, *emails: str) -> Iterator[None]:
        """Disconnect the participants for the duration of a ``with`` block."""
        self.disconnect(*emails)
        try:
            yield
        finally:
            self.connect(*emails)
