"""Emits the rounds of a run and the metrics of its strategy, which :mod:`syft_flwr.strategy_hook` reports."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from syft_flwr._messaging.asking import Ask
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.runs.events import Metrics, MetricValue, RoundStarted
from syft_flwr.runs.stream import Emit

#: Metrics of one round and source in the record. Numbers in a list, and in one event, which has to fit into a line.
_MAX_METRICS = 1_000
_MAX_NUMBERS = 1_000


class Rounds:
    """The rounds of one run. Thread-safe: legacy strategies send from one thread for each node."""

    def __init__(self, on_event: Emit, run: int) -> None:
        self._on_event = on_event
        self._run = run
        self._lock = threading.Lock()
        self._round = ""
        self._total = 0

    def note_sent(self, messages: Sequence[Ask]) -> None:
        """Emit the start of a round before its first request is sent."""
        for message in messages:
            name = message.round or message.group
            if message.type == SYSTEM_MESSAGE_TYPE or not name:
                continue
            with self._lock:
                is_new, self._round = name != self._round, name
                if is_new:
                    self._on_event(self._run, RoundStarted(name, self._total))

    def rounds(self, total: int) -> None:
        """Set the number of rounds of the strategy that starts now."""
        self._total = total

    def metrics(self, server_round: int, source: str, values: Mapping[str, Any]) -> None:
        """Emit the metrics of a round: numbers, lists of numbers and texts. Other values are left out."""
        known = {str(name): value for name, each in values.items() if (value := _plain(each)) is not None}
        part: dict[str, MetricValue] = {}
        numbers = 0
        for name, value in list(known.items())[:_MAX_METRICS]:
            size = len(value) if isinstance(value, (list, tuple)) else 1
            if part and numbers + size > _MAX_NUMBERS:
                self._on_event(self._run, Metrics(str(server_round), source, part))
                part, numbers = {}, 0
            part[name] = value
            numbers += size
        if part:
            self._on_event(self._run, Metrics(str(server_round), source, part))


def _plain(value: Any) -> MetricValue | None:
    # tolist() turns numbers and arrays of NumPy into those of Python.
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, (int, float, str)):
        return plain
    if isinstance(plain, (list, tuple)) and all(isinstance(each, (int, float)) for each in plain[:_MAX_NUMBERS]):
        return list(plain[:_MAX_NUMBERS])
    return None
