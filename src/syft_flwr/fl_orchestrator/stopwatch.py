"""Measures the seconds of each part of the work on one request."""

from collections.abc import Iterator
from contextlib import contextmanager

from syft_flwr.clock import Clock


class Stopwatch:
    """The seconds of each part, also of a part that an exception ended. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self._clock.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self._clock.monotonic() - start
