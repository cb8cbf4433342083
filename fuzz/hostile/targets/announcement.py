"""Fuzz ``Announcement.decode`` with the properties of a folder in Google Drive, which its owner writes."""

import json
from collections.abc import Iterator

from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_json
from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.streams.announcement import Announcement, read_positions


def seeds() -> Iterator[bytes]:
    for count in (0, 1, 3, 78):
        ids = tuple(f"{number:033d}" for number in range(count))
        properties = {key: value for key, value in Announcement("a" * 32, 5, 7, ids).encode().items() if value}
        yield json.dumps({**properties, "n": "5", "low": "3"}).encode()
        yield json.dumps({**properties, "base": "-1"}).encode()
        yield json.dumps({**properties, "ids25": "," * 80}).encode()


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_json(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that accepted positions are small, and that an announcement is the same after it was written again."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    # Google's answer has only texts.
    properties = {key: value for key, value in found.items() if isinstance(value, str)}
    guarded = Guarded(expected=TransportError)
    positions = guarded(read_positions, properties, "n", "low")
    assert positions is None or max(positions) < 10**15
    announcement = guarded(Announcement.decode, properties)
    if announcement is None:
        return
    assert min(announcement.base, announcement.next) >= 0
    fitting = announcement.fitting()
    assert Announcement.decode({key: value for key, value in fitting.encode().items() if value is not None}) == fitting
