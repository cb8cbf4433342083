"""Finds the first cause of a failed run: the participant where it happened, and its traceback or its error in the log.

All participants of a local run belong to one person, and their data is mock data. So the traceback may be shown.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from syft_flwr._store.futures import FirstFailure
from syft_flwr.errors import StorageError
from syft_flwr.files import read_bounded
from syft_flwr.text import printable

#: The most bytes of a log that are searched, and the most lines of a traceback that are shown.
_MAX_LOG = 64 << 20
_MOST_LINES = 60
#: The first line of an entry in a log.
_ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ ")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK = "Traceback (most recent call last):"
#: The line with which the process of a participant reports an error of this package.
_ERROR = "Error: "


@dataclass(frozen=True, slots=True)
class FirstCause:
    """The first failure of a run, with the lines of the log that explain it."""

    participant: str
    text: str
    log: Path
    lines: tuple[str, ...] = ()

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"participant": self.participant, "text": self.text, "log": self.log, "lines": list(self.lines)}


def cause_of_failure(failure: FirstFailure, log: Path) -> FirstCause:
    """Return the cause of a failed request; ``log`` is that of its data owner."""
    where = f" in round {failure.round}" if failure.round else ""
    text = f"{failure.data_owner} failed first, at a {failure.kind} request{where}: {failure.reason}: {failure.text}"
    # Only a worker that died or could not load the app leaves a traceback without a reference.
    may_search = failure.reference or failure.reason in ("app-load", "worker-died")
    return FirstCause(failure.data_owner, text, log, traceback_in(log, failure.reference) if may_search else ())


def cause_at(participant: str, text: str, log: Path) -> FirstCause:
    """Return the cause of a participant that ended with a failure."""
    return FirstCause(participant, text, log, traceback_in(log))


def error_in(log: Path) -> str:
    """Return the last error that the process of a participant reported in its log; empty if there is none."""
    errors = [line.removeprefix(_ERROR) for line in _lines(log) if line.startswith(_ERROR)]
    return errors[-1] if errors else ""


def traceback_in(log: Path, reference: str = "") -> tuple[str, ...]:
    """Return the traceback with this reference; without a reference, the first traceback. Empty if there is none."""
    lines = list(_lines(log))
    wanted = f"(reference {reference})" if reference else _TRACEBACK
    start = next((number for number, line in enumerate(lines) if wanted in line), None)
    if start is None:
        return ()
    start += wanted != _TRACEBACK
    # In the log, the later lines of an entry are indented.
    block = dedent("\n".join(_until_next_entry(lines[start:]))).split("\n")
    if len(block) > _MOST_LINES:
        block = [*block[:5], "[…]", *block[5 - _MOST_LINES :]]
    return tuple(block)


def _until_next_entry(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if _ENTRY.match(line) or line.startswith(_ERROR):
            return
        yield line


def _lines(log: Path) -> Iterator[str]:
    try:
        text = read_bounded(log, _MAX_LOG).decode(errors="replace")
    except StorageError:
        # A log that is gone or huge: the end of it is shown in any case.
        return
    for line in text.splitlines():
        yield printable(without_colours(line)).rstrip()


def without_colours(line: str) -> str:
    """Return a line of a log without the codes for colours."""
    return _COLOURS.sub("", line)
