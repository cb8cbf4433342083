"""A file in which the app notes its calls. It survives the process of the app, also if that is killed."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import eventually


@dataclass(frozen=True)
class Journal:
    """One line of JSON for each call of the app, and a gate at which the app can wait."""

    path: Path

    def note(self, **facts: Any) -> None:
        """Append one line with these facts and the process id. So short a line is written at once."""
        with self.path.open("a") as file:
            file.write(json.dumps({"process": os.getpid(), **facts}) + "\n")

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Return all calls of the app so far, in order."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def calls_of(self, message_id: str) -> list[dict[str, Any]]:
        return [call for call in self.calls if call["message"] == message_id]

    def wait_for_call(self, message_id: str, *, number: int = 1) -> dict[str, Any]:
        """Wait for the ``number``-th call of the app with this message. Return the line that it noted."""
        calls = eventually(
            lambda: (found := self.calls_of(message_id))[number - 1 :] and found, f"call {number} with {message_id}"
        )
        return calls[number - 1]

    @property
    def _gate(self) -> Path:
        return self.path.with_suffix(".gate")

    def open_gate(self) -> None:
        """Release the app that waits at the gate, and each one that comes later."""
        self._gate.touch()

    def close_gate(self) -> None:
        """Let the app wait at the gate again."""
        self._gate.unlink(missing_ok=True)

    def wait_at_gate(self) -> None:
        while not self._gate.exists():
            time.sleep(0.005)
