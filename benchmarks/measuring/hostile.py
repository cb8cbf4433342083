"""Measures the seconds until the largest envelopes with expensive contents are refused, and renders them in Markdown."""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from measuring.plan import write_seconds
from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.verifying import read_request
from syft_flwr.errors import MalformedError

# The contents are those of the fuzz targets.
sys.path.append(str(Path(__file__).parents[2] / "fuzz"))
_SENDER, _READER, _APP, _ID = "anna@example.org", "ben@example.org", "benchmark", "0" * 32


@dataclass(frozen=True, slots=True)
class Refusal:
    """The CPU seconds for one kind of content, and the text of its error."""

    kind: str
    size: int
    seconds: list[float]
    error: str


def measure(times: int) -> list[Refusal]:
    """Return the refusal of each kind of content, each measured so many times.

    The seconds are those of one reader from the bytes of the file on: form, signature, decryption, manifest, arrays, and
    the Flower message.
    """
    from hostile.largest import HONEST, KINDS

    return [_measure_one(kind, make(), times) for kind, make in {**KINDS, **HONEST}.items()]


def render(refusals: Sequence[Refusal]) -> str:
    """Return a table with one row for each kind of content."""
    rows = [["content of the envelope", "bytes", "CPU time: median", "max", "result"], ["---"] * 5]
    for each in refusals:
        median, most = (write_seconds(value) for value in (statistics.median(each.seconds), max(each.seconds)))
        rows.append([each.kind, f"{each.size:,}", f"**{median}**", most, each.error or "accepted"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _measure_one(kind: str, body: bytes, times: int) -> Refusal:
    sender, reader = Identity.generate(), Identity.generate()
    now = datetime.now(UTC)
    header = Header(
        id=_ID,
        kind="request",
        run=1,
        app=_APP,
        sender=_SENDER,
        recipient=_READER,
        sender_key=sender.public.key_id,
        recipient_key=reader.public.key_id,
        type="train",
        group="1",
        created=now,
        expires=now + timedelta(days=1),
        encryption="mlkem768-x25519",
        body_size=1,
    )
    data = envelopes.encode(header, body, sender, reader.public)
    results = [_read(data, sender, reader) for _ in range(times)]
    return Refusal(kind, len(data), [seconds for seconds, _ in results], results[0][1])


def _read(data: bytes, sender: Identity, reader: Identity) -> tuple[float, str]:
    """Return the CPU seconds of a reader, and the text of its error."""
    from hostile.largest import read_largest

    began, error = time.process_time(), ""
    try:
        unverified = read_request(data, email=_READER, identity=reader.public, sender=_SENDER, message_id=_ID, app=_APP)
        envelope = unverified.verify(sender.public, now=datetime.now(UTC)).envelope
        read_largest(envelope.open(reader, encryption=True))
    except MalformedError as refused:
        error = str(refused)
    return time.process_time() - began, error
