"""The events that a record must hold: a value that an event must have, and the search for expected events in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from faultkit.federation import AGGREGATOR, OWNERS

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import EVENTS

OWNER, OTHER = OWNERS


@dataclass(frozen=True)
class Name:
    """Stands for one value, which is the same wherever this name is used, on both sides."""

    name: str


@dataclass(frozen=True)
class Has:
    """Stands for each text with this part."""

    part: str


#: Stands for each value except 0 and empty ones.
SOME = object()
M = Name("message")
N = Name("next message")


@dataclass(frozen=True)
class Expected:
    """An event with some of its fields. A field that the record leaves out has its default."""

    event: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.event} {dict(self.fields)}"

    def bind(self, entry: RecordEntry, names: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return ``names`` with the values that this event gives to them; None if the event is another one."""
        if entry.event != self.event:
            return None
        bound = dict(names)
        for name, wanted in self.fields.items():
            found = entry.fields.get(name, _default(self.event, name))
            if isinstance(wanted, Name):
                if bound.setdefault(wanted.name, found) != found:
                    return None
            elif not _fits(found, wanted):
                return None
        return bound


def event(name: str, **wanted: Any) -> Expected:
    """Return an expected event; a field that the event does not have is a mistake of the table."""
    assert set(wanted) <= {field.name for field in fields(EVENTS[name])}, (name, wanted)
    return Expected(name, wanted)


def missing(
    expected: Sequence[Expected], entries: Sequence[RecordEntry], names: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any]]:
    """Search the expected events in order; return the first one that is nowhere, and the values of the names.

    The first is empty if all were found.
    """
    furthest = 0

    def search(number: int, start: int, names: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        nonlocal furthest
        furthest = max(furthest, number)
        if number == len(expected):
            yield names
            return
        for index in range(start, len(entries)):
            bound = expected[number].bind(entries[index], names)
            if bound is not None:
                yield from search(number + 1, index + 1, bound)

    found = next(search(0, 0, names), None)
    return (str(expected[furthest]), names) if found is None else ("", found)


def _default(event_name: str, field_name: str) -> Any:
    field = next(field for field in fields(EVENTS[event_name]) if field.name == field_name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _fits(found: Any, wanted: Any) -> bool:
    if wanted is SOME:
        return bool(found)
    if isinstance(wanted, Has):
        return wanted.part in found
    return bool(found == wanted)


# Events that many rows expect, with the meaning that they have for a reader


def sent(message: Name = M, **more: Any) -> Expected:
    return event("request-sent", **{"message": message, "data_owner": OWNER, "kind": "query"} | more)


def answered(message: Name = M, **more: Any) -> Expected:
    known = {"message": message, "kind": "query", "outcome": "answered", "reason": "", "bytes": SOME}
    return event("request-ended", **known | more)


def failed(reason: str, text: str, message: Name = M, **more: Any) -> Expected:
    known = {"message": message, "kind": "query", "outcome": "failed", "reason": reason, "text": Has(text)}
    return event("request-ended", **known | more)


def received(message: Name = M, **more: Any) -> Expected:
    known = {"message": message, "aggregator": AGGREGATOR, "kind": "query", "bytes": SOME, "digest": SOME}
    return event("request-received", **known | more)


def started(message: Name = M, attempt: int = 1) -> Expected:
    return event("request-started", message=message, attempt=attempt)


def released(message: Name = M, **more: Any) -> Expected:
    known = {"message": message, "aggregator": AGGREGATOR, "outcome": "answered", "reason": "", "bytes": SOME}
    return event("reply-released", **known | more)


def released_error(reason: str, text: str, message: Name = M, **more: Any) -> Expected:
    return released(message, outcome="failed", reason=reason, text=Has(text), **more)


def closed(message: Name = M) -> Expected:
    return event("request-closed", message=message)


def refused(reason: str, text: str, **more: Any) -> Expected:
    return event("request-refused", reason=reason, text=Has(text), **more)


def warned(text: str, level: str = "warning") -> Expected:
    return event("warning", level=level, text=Has(text))


def ended(state: str = "", cause: str = "") -> Expected:
    """Return the end of a run. Without a state, that of the database, which :class:`Fault` names, is expected."""
    return event("run-ended", cause=Has(cause), lost={}, **({"state": state} if state else {}))


BEGUN = event("run-started", role="aggregator", app="faults", aggregator=AGGREGATOR, versions=SOME, settings=SOME)
SERVED = event("run-started", role="datasite", app="faults", aggregator=AGGREGATOR, versions=SOME, fingerprints=SOME)
RESUMED = event("run-resumed", role="aggregator", resumed=1)
SERVED_AGAIN = event("run-resumed", role="datasite", resumed=1)
#: The whole record of an exchange without a fault, for each side.
ASKED = (BEGUN, sent(), answered(), ended())
REPLIED = (SERVED, received(), started(), released(), closed(), ended("completed"))
