"""A record of an aggregator that a test writes line by line, as its process would."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import Event, Metrics, RequestEnded, RunEnded, RunResumed, RunStarted
from syft_flwr.runs.record import record_path

RUN = 4242
APP, DS, DO1, DO2 = "diabetes", "ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"
BEGAN = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)


class WrittenRecord:
    """The record of one run. Each line is a second later than the one before."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = record_path(folder, RUN, "aggregator")
        self.process = "00000001"
        self._n = 0

    def add(self, event: Event, **others: Any) -> RecordEntry:
        """Append an event, with fields that this release may not have, and return its entry."""
        self._n += 1
        time = BEGAN + timedelta(seconds=self._n)
        entry = RecordEntry(self._n, time, float(self._n), self.process, RUN, event.name, fields_of(event) | others)
        with self.path.open("ab") as file:
            file.write(entry.encode())
        return entry

    def begin(self, *, resumed: int = 0, run_config: Mapping[str, Any] | None = None, **fields: Any) -> RecordEntry:
        """Append the begin of a process that serves the run."""
        facts: dict[str, Any] = {
            "role": "aggregator",
            "app": APP,
            "aggregator": DS,
            "versions": {"flwr": "1.40"},
            **fields,
        }
        self.process = f"{resumed + 1:08x}"
        event = RunResumed(**facts, resumed=resumed) if resumed else RunStarted(**facts)
        return self.add(event, run_config=run_config or {})

    def round(self, number: int | str, loss: Any = 0.5) -> None:
        """Append the metrics of a round: of both data owners, and of the run."""
        for owner in (DO1, DO2):
            self.reply(number, owner, {"loss": loss})
        self.add(Metrics(str(number), "train", {"loss": loss}))

    def reply(self, number: int | str, owner: str, metrics: Mapping[str, Any]) -> None:
        """Append the end of a request with the metrics of its reply."""
        self.add(RequestEnded(f"m{self._n}", owner, "train", "answered", round=str(number), metrics=metrics))

    def end(self, state: str = "completed", cause: str = "", losses: Sequence[Mapping[str, Any]] = ()) -> None:
        self.add(RunEnded(state, cause, losses=losses))
