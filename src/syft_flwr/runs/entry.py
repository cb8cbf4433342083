"""One line of a record: an event with its number, its times, its process and its run, as JSON.

::

    {"v":1,"n":12,"time":"2026-11-27T09:30:00.123Z","elapsed":3.125,"process":"9f3a01bc","run":"77","event":"seen", …}
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic_core import from_json

from syft_flwr.runs.events import EVENTS, VERSION, Event, moment
from syft_flwr.text import printable

#: Bytes of one line. A longer entry loses its long fields.
MAX_LINE = 65_536
#: Characters of a text in an entry, and items of a list or a mapping.
MAX_TEXT = 500
MAX_ITEMS = 1_000
#: The texts for the numbers that JSON does not have.
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
#: Digits of a run id.
_MAX_RUN = 19
#: Bits of a number.
_MAX_BITS = 64
#: Seconds in a process.
_MAX_ELAPSED = 1e12
#: A number that can be too large for a float: its exponent or its number of digits. Such a line is from another program.
_HUGE = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}")
_HEAD = ("v", "n", "time", "elapsed", "process", "run", "event")


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """An event of a record. ``fields`` has the values of the event by name, without those that have their default."""

    #: The number of the line in its record. It increases by 1, also over restarts.
    n: int
    #: Aware, in UTC, by the clock of this machine.
    time: datetime
    #: Seconds since its process opened the record; they never decrease within one ``process``.
    elapsed: float
    #: Random text for each process: process ids are used again.
    process: str
    #: 0 for an event that belongs to no run.
    run: int
    event: str
    fields: Mapping[str, Any]
    v: int = VERSION

    def text(self, name: str) -> str:
        """Return a field as text; empty if it is missing."""
        return str(self.fields.get(name, ""))

    def number(self, name: str) -> int:
        """Return a field that is an integer of the size that a writer gives; 0 if it is missing or is something else."""
        value = self.fields.get(name, 0)
        return value if type(value) is int and value.bit_length() <= _MAX_BITS else 0

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return a field that is a mapping; an empty one if it is missing or is something else."""
        value = self.fields.get(name)
        return value if isinstance(value, Mapping) else {}

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list, as texts; empty if it is missing or is something else."""
        value = self.fields.get(name)
        return tuple(map(str, value)) if isinstance(value, list | tuple) else ()

    def encode(self) -> bytes:
        """Return the line, with its line break."""
        head = (self.v, self.n, moment(self.time), round(self.elapsed, 4), self.process, str(self.run), self.event)
        known = dict(zip(_HEAD, head, strict=True))
        line = _line(known | dict(self.fields))
        if len(line) <= MAX_LINE:
            return line
        # The largest fields go first.
        kept = sorted(self.fields.items(), key=lambda item: len(json.dumps(item)))
        while kept and len(line) > MAX_LINE:
            kept.pop()
            line = _line(known | dict(kept) | {"shortened": True})
        return line


def read_entry(line: bytes) -> RecordEntry | None:
    """Return the entry of a line; None if it is torn, damaged or of another version."""
    try:
        found = from_json(line, allow_inf_nan=False)
        if found["v"] != VERSION:
            return None
        _, n, time, elapsed, process, run, event = map(found.pop, _HEAD)
        moment_of = datetime.fromisoformat(time)
        if (
            moment_of.tzinfo is None
            or not abs(elapsed) < _MAX_ELAPSED
            or type(n) is not int
            or n.bit_length() > _MAX_BITS
        ):
            return None
        if len(run) > _MAX_RUN:
            return None
        known = _plain(found) if _HUGE.search(line) else found
        return RecordEntry(n, moment_of.astimezone(UTC), elapsed, str(process), int(run), str(event), known)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def fields_of(event: Event) -> dict[str, Any]:
    """Return the values of an event that differ from their defaults, in a form that JSON has."""
    found = ((name, _plain(getattr(event, name)), default) for name, default in _defaults(event.name))
    return {name: value for name, value, default in found if value != default}


@cache
def _defaults(name: str) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (each.name, _plain(each.default_factory() if each.default_factory is not MISSING else each.default))
        for each in fields(EVENTS[name])
    )


def _plain(value: Any) -> Any:
    """Return ``value`` with bounded texts, lists and mappings. JSON has no number for NaN and infinity, so they are texts."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        # A reader of JSON may refuse a larger number.
        return value if value.bit_length() <= _MAX_BITS else hex(value)[:MAX_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(each) for name, each in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(each) for each in value[:MAX_ITEMS]]
    return printable(str(value), MAX_TEXT)


def _line(known: Mapping[str, Any]) -> bytes:
    return json.dumps(known, separators=(",", ":")).encode() + b"\n"
