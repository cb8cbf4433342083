"""Sums the time that the exchange spends in ``on_event``, in each process of a measurement."""

import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syft_flwr.runs.events import Event
from syft_flwr.runs.stream import EventStream


@dataclass(frozen=True, slots=True)
class Emitted:
    """The events of all participants in one round, and the seconds of their ``on_event`` calls."""

    events: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.events:.1f} events, {self.seconds * 1e3:.3f} ms in on_event"


class EmitWatch:
    """Measures each call of ``EventStream.emit`` in this process. Threads count apart, so that no lock adds time."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, list[float]] = defaultdict(lambda: [0, 0.0])
        self._emit = EventStream.emit
        counts, emit = self._counts, self._emit

        def timed(stream: EventStream, run: int, event: Event) -> None:
            start = time.perf_counter()
            emit(stream, run, event)
            count = counts[threading.get_ident()]
            count[1] += time.perf_counter() - start
            count[0] += 1

        setattr(EventStream, "emit", timed)  # noqa: B010 - mypy does not allow to assign a method

    def save(self, path: Path) -> None:
        """Write the sums of this process."""
        events, seconds = (sum(count[index] for count in self._counts.values()) for index in (0, 1))
        path.write_text(json.dumps([events, seconds]), encoding="utf-8")


def read_emitted(root: Path, rounds: int) -> Emitted:
    """Return the sums of all processes, for one round on average. The start and the end of the run are shared out."""
    sums: list[Any] = [json.loads(path.read_text(encoding="utf-8")) for path in root.glob("emitted-*.json")]
    return Emitted(sum(found[0] for found in sums) / rounds, sum(found[1] for found in sums) / rounds)
