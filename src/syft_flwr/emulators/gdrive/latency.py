"""Delays of requests: latency, pauses, stalls and barriers."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import ClassVar, Self

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive.faults import Call, Fault, draw

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Latency:
    """The duration of calls and transfers.

    Attributes:
        medians: median seconds by method; ``files.create.media`` and ``files.update.media`` are calls with content.
        default: median seconds of all other methods.
        spread: sigma of the lognormal distribution; with 0, each call takes the median.
        up: bytes per second from a client to the service, for each connection; None for no limit.
        down: bytes per second from the service to a client, for each connection; None for no limit.
    """

    medians: Mapping[str, float] = field(default_factory=dict)
    default: float = 0.0
    spread: float = 0.0
    up: float | None = None
    down: float | None = None

    NONE: ClassVar["Latency"]
    REAL: ClassVar["Latency"]

    def scaled(self, factor: float) -> Self:
        """Return a latency in which everything takes ``factor`` times as long."""
        return replace(
            self,
            medians={method: factor * seconds for method, seconds in self.medians.items()},
            default=factor * self.default,
            up=None if self.up is None else self.up / factor,
            down=None if self.down is None else self.down / factor,
        )

    def seconds(self, call: Call, *, has_media: bool, seed: int) -> float:
        """Return the seconds from the start of a call to the start of its response, including the upload."""
        name = f"{call.method}.media" if has_media else call.method
        median = self.medians.get(name, self.medians.get(call.method, self.default))
        chance = draw(seed, "latency", call.user, call.method, call.number)
        taken = _lognormal(median, self.spread, chance) if self.spread and median else median
        return taken + (call.size / self.up if self.up else 0.0)

    def transfer(self, size: int) -> float:
        """Return the seconds that a response of ``size`` bytes takes to arrive."""
        return size / self.down if self.down else 0.0


Latency.NONE = Latency()
#: Medians measured against the real service over a warm connection: get 0.29 s, list 0.33 s, small download 0.57 s, new
#: folder 1 s, small content 2.3 s. The measured home uplink carried 128 MiB in about a minute. Not measured: the other
#: methods, which get the time of a get or a new folder; the spread; and 10 MB/s down.
Latency.REAL = Latency(
    medians={
        "files.list": 0.33,
        "changes.list": 0.33,
        "files.download": 0.57,
        "files.create": 1.0,
        "files.update": 1.0,
        "files.delete": 1.0,
        "files.create.media": 2.3,
        "files.update.media": 2.3,
        "permissions.create": 1.0,
        "permissions.delete": 1.0,
        "upload.chunk": 0.7,
        "batch": 0.6,
    },
    default=0.29,
    spread=0.35,
    up=2.1e6,
    down=10e6,
)


class Gate:
    """Delays the requests of many threads, by the clock of the emulator. :meth:`shut` ends all waits. Thread-safe.

    Attributes:
        latency: the common latency; may be set at any time.
        latencies: the latency of users with their own, by email.
    """

    def __init__(self, clock: Clock, seed: int) -> None:
        self.latency = Latency.NONE
        self.latencies: dict[str, Latency] = {}
        self._clock = clock
        self._seed = seed
        self._barriers: dict[Fault, threading.Barrier] = {}
        self._condition = threading.Condition()
        self._paused = False
        self._shut = False
        self._releases = 0
        self._stalled = 0

    @property
    def stalled(self) -> int:
        """Return how many requests wait for a release."""
        with self._condition:
            return self._stalled

    def wait_until_stalled(self, count: int, timeout: float) -> bool:
        """Wait until ``count`` requests are stalled; return False after ``timeout`` real seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: self._stalled >= count, timeout)

    def pass_through(self) -> None:
        """Wait while the gate is paused."""
        self._wait(lambda: not self._paused, None)

    def delay_answer(self, call: Call, *, has_media: bool) -> None:
        """Wait for the latency of the call, before the response starts."""
        self._sleep(self._latency_of(call.user).seconds(call, has_media=has_media, seed=self._seed))

    def delay_transfer(self, call: Call, size: int) -> None:
        """Wait for the time that a response of ``size`` bytes takes to arrive."""
        self._sleep(self._latency_of(call.user).transfer(size))

    def meet(self, fault: Fault) -> None:
        """Wait at a ``barrier`` until all its parties have arrived, or until its timeout in real seconds."""
        with self._condition:
            if self._shut:
                return
            barrier = self._barriers.setdefault(fault, threading.Barrier(fault.parameters["parties"]))
        try:
            barrier.wait(fault.parameters["timeout"])
        except threading.BrokenBarrierError:
            # The other calls did not arrive in time. The test notices by the next responses.
            return

    def stall(self, seconds: float | None) -> None:
        """Wait for a release, but at most ``seconds``; None waits without a limit."""
        with self._condition:
            self._stalled += 1
            self._condition.notify_all()
            before = self._releases
        self._wait(lambda: self._releases != before, seconds)
        with self._condition:
            self._stalled -= 1

    def pause(self) -> None:
        with self._condition:
            self._paused = True

    def resume(self) -> None:
        with self._condition:
            self._paused = False
            self._condition.notify_all()

    def release(self) -> None:
        """Release all requests that are stalled now."""
        with self._condition:
            self._releases += 1
            self._condition.notify_all()

    def shut(self) -> None:
        with self._condition:
            self._shut = True
            self._condition.notify_all()
            barriers = list(self._barriers.values())
        for barrier in barriers:
            barrier.abort()

    def _latency_of(self, email: str) -> Latency:
        return self.latencies.get(email, self.latency)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._wait(lambda: False, seconds)

    def _wait(self, is_over: Callable[[], bool], seconds: float | None) -> None:
        with self._condition:
            deadline = None if seconds is None else self._clock.monotonic() + seconds
            while not self._shut and not is_over():
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return
                self._clock.wait_until(self._condition, deadline)


def _lognormal(median: float, sigma: float, at: float) -> float:
    """Return the quantile ``at`` (0 to 1) of a lognormal distribution."""
    return median * math.exp(sigma * _NORMAL.inv_cdf(min(max(at, 1e-9), 1 - 1e-9)))
