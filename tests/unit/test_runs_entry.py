"""The lines of a record: each event is read as it was written, and a damaged line is skipped."""

import json
import math
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.runs.entry import MAX_ITEMS, MAX_LINE, MAX_TEXT, RecordEntry, fields_of, read_entry
from syft_flwr.runs.events import EVENTS, VERSION, Event, LoggedWarning, Metrics, RequestEnded, RequestSent, RunEnded
from syft_flwr.text import is_visible, printable

NOW = datetime(2030, 1, 1, 12, 30, 0, 125_000, UTC)
#: Printable texts without surrogates, as most events have.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30).filter(is_visible)
NUMBERS = st.integers(-(1 << 63), 1 << 63)
FLOATS = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXTS,
    "int": NUMBERS,
    "float": FLOATS,
    "bool": st.booleans(),
    "Sequence[str]": st.lists(TEXTS, max_size=4),
    "Mapping[str, str]": st.dictionaries(TEXTS, TEXTS, max_size=4),
    "Mapping[str, int]": st.dictionaries(TEXTS, NUMBERS, max_size=4),
    "Mapping[str, float]": st.dictionaries(TEXTS, FLOATS, max_size=4),
    "Mapping[str, MetricValue]": st.dictionaries(TEXTS, TEXTS | NUMBERS | FLOATS | st.lists(FLOATS), max_size=4),
}


def type_name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def values_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    names = {}
    for each in fields(kind):
        text = type_name(each.type).replace("collections.abc.", "")
        known = next((name for name in VALUES if name == text), None)
        names[each.name] = VALUES[known or "Mapping[str, MetricValue]"]
    return st.builds(kind, **names)


EVENT_VALUES = st.sampled_from(sorted(EVENTS)).flatmap(lambda name: values_of(EVENTS[name]))


def entry(event: Event, n: int = 1, time: datetime = NOW) -> RecordEntry:
    return RecordEntry(n, time, 3.125, "9f3a01bc", 77, event.name, fields_of(event))


def line(**changes: Any) -> bytes:
    head = {"v": VERSION, "n": 1, "time": "2030-01-01T12:30:00.125Z", "elapsed": 3.125, "process": "9f3a01bc"}
    found = {**head, "run": "77", "event": "warning", "level": "error", "text": "x", **changes}
    return json.dumps({name: value for name, value in found.items() if value is not MISSING}).encode() + b"\n"


# Write and read


@given(event=EVENT_VALUES, n=st.integers(1, 1 << 40), run=st.integers(0, (1 << 63) - 1))
def test_each_event_is_read_as_it_was_written(event: Event, n: int, run: int) -> None:
    written = RecordEntry(n, NOW, 3.125, "9f3a01bc", run, event.name, fields_of(event))

    assert read_entry(written.encode()) == written


def test_line_has_the_described_fields_in_order() -> None:
    written = json.loads(entry(LoggedWarning("error", "the disk is full"), n=12).encode())

    assert list(written) == ["v", "n", "time", "elapsed", "process", "run", "event", "level", "text"]
    assert written == {
        "v": 1,
        "n": 12,
        "time": "2030-01-01T12:30:00.125Z",
        "elapsed": 3.125,
        "process": "9f3a01bc",
        "run": "77",
        "event": "warning",
        "level": "error",
        "text": "the disk is full",
    }


def test_every_event_has_a_unique_name_with_hyphens() -> None:
    assert len({kind.name for kind in EVENTS.values()}) == len(EVENTS) == 25
    assert all(name == kind.name and name == name.lower() and " " not in name for name, kind in EVENTS.items())
    assert {"run-started", "request-ended", "reply-released", "warning"} <= EVENTS.keys()


def test_no_event_field_has_a_name_of_the_head() -> None:
    head = {"v", "n", "time", "elapsed", "process", "run", "event", "shortened"}

    assert [name for name, kind in EVENTS.items() if head & {each.name for each in fields(kind)}] == []


def test_fields_with_their_default_are_left_out() -> None:
    sent = RequestSent("a" * 32, "do@y.org", "train", bytes=0, bytes_saved=7, replayed=False)

    assert fields_of(sent) == {"message": "a" * 32, "data_owner": "do@y.org", "kind": "train", "bytes_saved": 7}
    assert fields_of(RunEnded("completed")) == {"state": "completed"}


def test_required_field_is_written_even_if_empty() -> None:
    assert fields_of(LoggedWarning("", "")) == {"level": "", "text": ""}


# Hostile values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_texts(value: float) -> None:
    written = entry(Metrics("1", "train", {"loss": value, "all": [value, 1.0]})).encode()

    assert json.loads(written, parse_constant=pytest.fail)["values"] == {"loss": str(value), "all": [str(value), 1.0]}
    assert read_entry(written) is not None


@pytest.mark.parametrize(
    "number", ["1e999", "-1E+999", f"{'9' * 220}e99", f"1{'0' * 400}.0", f"-1{'0' * 300}", "0.1e00309"]
)
def test_huge_number_of_another_program_is_read_as_text(number: str) -> None:
    written = line(values={"loss": "X", "all": [0.5, "X"]}).replace(b'"X"', number.encode())

    found = read_entry(written)
    assert found is not None
    again = json.loads(found.encode(), parse_constant=pytest.fail)["values"]
    assert type(again["loss"]) is str or number.startswith("0.1")
    assert again["all"] == [0.5, again["loss"]]


@pytest.mark.parametrize("elapsed", ["1e999", "-1e308", "1e308"])
def test_line_with_a_huge_span_is_skipped(elapsed: str) -> None:
    assert read_entry(line(elapsed="X").replace(b'"X"', elapsed.encode())) is None


@pytest.mark.parametrize("value", [1 << 65, -(1 << 65), 10**5_000], ids=["65 bits", "negative", "5000 digits"])
def test_huge_integer_is_a_text_in_the_record(value: int) -> None:
    found = read_entry(entry(Metrics("1", "train", {"count": value})).encode())

    assert found is not None
    assert found.fields["values"]["count"] == hex(value)[:MAX_TEXT]


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\u2028", "\u202e", "\ud800"])
def test_control_characters_cannot_forge_a_line(character: str) -> None:
    text = f'a{character}{{"v":1}}'
    written = entry(LoggedWarning("error", text)).encode()

    assert written.count(b"\n") == 1
    found = read_entry(written)
    assert found is not None
    assert found.fields["text"] == f'a{printable(character)}{{"v":1}}'
    assert is_visible(found.fields["text"])


def test_control_characters_in_names_are_replaced() -> None:
    found = fields_of(Metrics("1", "train", {"a\nb": 1.0}))

    assert found["values"] == {"a b": 1.0}


def test_long_values_are_bounded() -> None:
    values = {"text": "x" * (MAX_TEXT + 1), "list": list(range(MAX_ITEMS + 1))}
    found = fields_of(Metrics("1", "train", values))["values"]

    assert found == {"text": "x" * MAX_TEXT, "list": list(range(MAX_ITEMS))}
    many = fields_of(Metrics("1", "train", {str(number): 1 for number in range(MAX_ITEMS + 1)}))
    assert len(many["values"]) == MAX_ITEMS


def test_too_long_entry_loses_its_long_fields() -> None:
    values = {f"metric {number}": "x" * MAX_TEXT for number in range(MAX_ITEMS)}
    written = entry(Metrics("7", "train", values)).encode()

    assert len(written) <= MAX_LINE
    found = read_entry(written)
    assert found is not None
    assert found.fields == {"round": "7", "source": "train", "shortened": True}


def test_longest_texts_fit_into_a_line() -> None:
    worst = "\U0001f600" * MAX_TEXT
    event = RequestEnded(worst, worst, worst, worst, worst, worst, worst, seconds={worst: 1.0})

    written = entry(event).encode()

    assert len(written) <= MAX_LINE
    found = read_entry(written)
    assert found is not None
    assert found.fields["text"] == worst


# Lines of others


def test_unknown_event_and_fields_are_kept() -> None:
    found = read_entry(line(event="of-the-future", extra={"a": [1]}))

    assert found is not None
    assert (found.event, found.fields["extra"]) == ("of-the-future", {"a": [1]})


def test_time_of_another_zone_is_read_as_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5.5)))

    found = read_entry(line(time=local.isoformat()))

    assert found is not None
    assert (found.time, found.time.tzinfo) == (NOW, UTC)


def test_each_cut_of_a_line_is_skipped() -> None:
    whole = line().rstrip(b"\n")

    assert read_entry(whole) is not None
    assert [size for size in range(len(whole)) if read_entry(whole[:size]) is not None] == []


DAMAGED: dict[str, bytes] = {
    "no json": b"\x00\xff",
    "a list": b"[1]",
    "a text": b'"v"',
    "a number": b"7",
    "nothing": b"null",
    "nested": b"[" * 60_000,
    "nested inside": b'{"v":1,"n":' + b"[" * 60_000,
    "two": line().rstrip(b"\n") + line(),
    "digits": line().replace(b'"n": 1', b'"n": ' + b"9" * 10_000),
    "other version": line(v=VERSION + 1),
    "no version": line(v=MISSING),
    "naive time": line(time="2030-01-01T12:30:00.125"),
    "no time": line(time="yesterday"),
    "time as number": line(time=7),
    "first time": line(time="0001-01-01T00:00:00+14:00"),
    "last time": line(time="9999-12-31T23:59:59-14:00"),
    "elapsed as text": line(elapsed="nan"),
    "elapsed without end": line(elapsed=MISSING) + b"",
    "infinite": line().replace(b"3.125", b"Infinity"),
    "not a number": line().replace(b"3.125", b"NaN"),
    "run as words": line(run="seven"),
    "run as list": line(run=[7]),
    "n as mapping": line(n={}),
    **{f"no {name}": line(**{name: MISSING}) for name in ("n", "process", "run", "event")},
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_line_is_skipped(damaged: bytes) -> None:
    assert read_entry(damaged) is None


@given(data=st.binary(max_size=200))
def test_any_bytes_give_an_entry_or_none(data: bytes) -> None:
    found = read_entry(data)

    assert found is None or isinstance(found, RecordEntry)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(changes=st.dictionaries(st.sampled_from(["v", "n", "time", "elapsed", "process", "run", "event"]), JSON))
def test_any_json_gives_a_typed_entry_or_none(changes: dict[str, Any]) -> None:
    found = read_entry(line(**changes))

    if found is not None:
        assert (type(found.n), type(found.run), type(found.process), type(found.event)) == (int, int, str, str)
        assert found.time.tzinfo is UTC
        assert math.isfinite(found.elapsed)
