"""The cost of each message of a run: one line of JSON each, for status pages and reports.

It is an account and no journal: a line that a power cut loses changes nothing, so it is not forced to disk.
"""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(slots=True)
class MessageCost:
    """Bytes and seconds of one message to one datasite, and of its answer."""

    #: Bytes of envelope and objects that were written for this message alone or first.
    bytes_written: int = 0
    #: Bytes of objects that this message uses and an earlier one had written.
    bytes_saved: int = 0
    #: Bytes of the answer's envelope and objects.
    bytes_received: int = 0
    #: At the aggregator: to seal and write the request.
    seconds_seal: float = 0.0
    #: On the way there and back.
    seconds_transfer: float = 0.0
    #: At the data owner: until the app was free.
    seconds_wait: float = 0.0
    #: At the data owner: to open the request, run the app, and seal the answer.
    seconds_open_request: float = 0.0
    seconds_run: float = 0.0
    seconds_seal_answer: float = 0.0
    #: At the aggregator: to open the answer.
    seconds_open: float = 0.0


class RunLog:
    """Files ``<run>.jsonl`` in one folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def path(self, run: int) -> Path:
        return self._folder / f"{run:016x}.jsonl"

    def add(self, run: int, facts: Mapping[str, str], cost: MessageCost) -> None:
        """Append one message: what it was (``facts``), and what it cost."""
        line = {**facts, **{name: round(value, 6) for name, value in asdict(cost).items()}}
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self.path(run), "a", encoding="utf-8", opener=_private) as file:
                file.write(json.dumps(line) + "\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
