"""One line of a log in its three forms: for a file as text, as JSON, and for the console.

::

    2026-11-28T09:30:00.123Z INFO     app    77 epoch 1
    {"time": "2026-11-28T09:30:00.123Z", "level": "INFO", "source": "app", "run": "77", "message": "epoch 1"}
    10:30:00 INFO     [app] epoch 1
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any, Literal, get_args

from syft_flwr.text import log_entry

#: Who wrote a line: this package, Flower's logger, or the app.
Source = Literal["ours", "flower", "app"]
_HEAD = re.compile(
    rf"(\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z) ([A-Z]{{1,20}}) +({'|'.join(get_args(Source))}) +(\d{{1,19}}|-) ?(.*)"
)
#: The indentation of the later lines of an entry.
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry of a log. ``message`` is inert text; it may have more lines, which are indented."""

    message: str
    level: str = "INFO"
    source: Source = "ours"
    #: 0 if the line belongs to no run.
    run: int = 0
    #: None for a line of a file that is no entry of this package.
    time: datetime | None = field(default_factory=lambda: datetime.now(UTC))

    def of_run(self, run: int) -> "LogLine":
        """Return the same line as one of a run."""
        return replace(self, run=run)

    def text(self) -> str:
        """Return the form of a file, with its line break."""
        return f"{self._time()} {self.level:<8} {self.source:<6} {self.run or '-'} {self.message}\n"

    def fields(self) -> dict[str, Any]:
        """Return the fields for JSON. The run is a text, because it is larger than the safe integers of JSON."""
        run = str(self.run) if self.run else None
        return {
            "time": self._time() or None,
            "level": self.level,
            "source": self.source,
            "run": run,
            "message": self.message,
        }

    def json(self) -> str:
        """Return one line of JSON, with its line break."""
        return json.dumps(self.fields()) + "\n"

    def console(self) -> str:
        """Return the form for the console, with local time and a mark for the lines of others."""
        mark = "" if self.source == "ours" else f"[{self.source}] "
        time = "" if self.time is None else f"{self.time.astimezone():%H:%M:%S} "
        return f"{time}{self.level:<8} {mark}{self.message}"

    def shown(self) -> str:
        """Return the form for a person who reads a log, with the local date and time."""
        if self.time is None:
            return self.message
        return f"{self.time.astimezone():%Y-%m-%d} {self.console()}"

    def _time(self) -> str:
        return (
            ""
            if self.time is None
            else f"{self.time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{self.time.microsecond // 1000:03}Z"
        )


def read_lines(rows: Iterable[str]) -> Iterator[LogLine]:
    """Yield the entries of a log file in either form. A row of another form is an entry of the app without a time."""
    last: LogLine | None = None
    for row in rows:
        text = row.rstrip("\n")
        if last and last.time and (not text or text.startswith(_INDENT)):
            last = replace(last, message=f"{last.message}\n{log_entry(text)}")
            continue
        if last:
            yield last
        last = _of_json(text) or _of_text(text) or LogLine(log_entry(text), source="app", time=None)
    if last:
        yield last


def _of_text(text: str) -> LogLine | None:
    if (found := _HEAD.fullmatch(text)) is None:
        return None
    time, level, source, run, message = found.groups()
    return _checked({"time": time, "level": level, "source": source, "run": run, "message": message})


def _of_json(text: str) -> LogLine | None:
    if not text.startswith('{"time": '):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _checked(found) if isinstance(found, dict) else None


def _checked(found: dict[str, Any]) -> LogLine | None:
    """Return an entry with these values; None if one of them has another form."""
    try:
        time = datetime.fromisoformat(found["time"])
        # The first and the last day have no time in some zones.
        if time.tzinfo is None or not MINYEAR < time.year < MAXYEAR:
            return None
        run = found.get("run")
        source: Source = next(each for each in get_args(Source) if each == found["source"])
        number = 0 if run in (None, "-") else int(run)
        level = str(found["level"])
    except (KeyError, TypeError, ValueError, OverflowError, StopIteration):
        return None
    if not level.isalpha() or not level.isascii():
        return None
    return LogLine(log_entry(str(found["message"])), level[:20], source, number, time)
