"""Writes the cost of each message of a run as one line of JSON, for status pages and reports.

The exchange does not depend on this file, so a line is written without fsync; a power cut may lose it.
"""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(slots=True)
class MessageCost:
    """Bytes and seconds of one request to one datasite, and of its reply."""

    #: Bytes of the envelope, and of the objects that were written for this request.
    bytes_written: int = 0
    #: Bytes of objects that this request shares with an earlier request.
    bytes_saved: int = 0
    #: Bytes of the envelope and the objects of the reply.
    bytes_received: int = 0
    #: At the aggregator: to seal and write the request.
    seconds_seal: float = 0.0
    #: Both transfers, of the request to the data owner and of the reply back, without the time of ``seconds_download``.
    seconds_transfer: float = 0.0
    #: At the data owner: from the arrival of the request to that of its last object.
    seconds_download: float = 0.0
    #: At the data owner: wait until the app was free.
    seconds_wait: float = 0.0
    #: At the data owner: to open the request, run the app, and seal the reply.
    seconds_open_request: float = 0.0
    seconds_run: float = 0.0
    seconds_seal_answer: float = 0.0
    #: At the aggregator: to open the reply.
    seconds_open: float = 0.0


class RunLog:
    """The files ``<run>.jsonl`` in one folder, with the run id in hexadecimal. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def path(self, run: int) -> Path:
        return self._folder / f"{run:016x}.jsonl"

    def add(self, run: int, facts: Mapping[str, str], cost: MessageCost) -> None:
        """Append one line with the description of a message (``facts``) and its cost.

        Raises:
            OSError: the file cannot be written.
        """
        line = {**facts, **{name: round(value, 6) for name, value in asdict(cost).items()}}
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self.path(run), "a", encoding="utf-8", opener=_private) as file:
                file.write(json.dumps(line) + "\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
