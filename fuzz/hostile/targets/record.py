"""Fuzz ``entry.read_entry`` with lines of the record of a run. Other programs may damage a record."""

import io
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hostile.mutation import Mutate, mutate_json
from syft_flwr.runs.entry import MAX_LINE, RecordEntry, read_entry
from syft_flwr.runs.events import moment
from syft_flwr.runs.record_reader import read_entries

_NOW = datetime(2030, 1, 1, tzinfo=UTC)


def seeds() -> Iterator[bytes]:
    for fields in ({}, {"round": "3", "total": 5}, {"metrics": {"loss": 0.5, "all": [1, 2]}}, {"text": "a" * MAX_LINE}):
        yield RecordEntry(1, _NOW, 0.5, "process", 7, "round-started", fields).encode()
    two = [RecordEntry(number, _NOW, 0.5, "process", 7, "log", {"text": "é"}).encode() for number in (1, 2)]
    yield b"".join(two)
    yield two[0][:-9] + two[1]


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_json(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that an entry is the same after it was written again, and that a file has the same entries in order."""
    entries = [found for line in data.split(b"\n") if len(line) <= MAX_LINE and (found := read_entry(line))]
    for entry in entries:
        again = read_entry(entry.encode())
        assert again is not None
        # A writer writes milliseconds, and another program may have written more digits.
        assert moment(again.time) == moment(entry.time)
        assert (again.n, again.run, again.event) == (entry.n, entry.run, entry.event)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(io.BytesIO(data).getvalue() + b"\n")
        numbers = [entry.n for entry in read_entries(Path(file.name))]
    assert len(numbers) <= len(entries)
    assert json.dumps(numbers) == json.dumps([number for number in numbers if type(number) is int])
