"""Decides the places of the buffers of a message: in the envelope, or in parts that become objects.

The limits come from the transport. A reply, and a request to one participant, travel in the envelope as long as the sync
service sends it in real time. A request to several participants has one copy of its large buffers, in objects for all.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from syft_flwr._messaging.wire.body import Body, BufferRef, Manifest, ObjectRef, Piece
from syft_flwr._messaging.wire.limits import INLINE_BUFFER, INLINE_TOTAL, MAX_BUFFERS, MAX_MESSAGE, MAX_OBJECT, MAX_USES
from syft_flwr.errors import LocalProtocolError
from syft_flwr.transport.base import Properties

#: Arrays of one shape start with the same NumPy header, so a cheap comparison uses the last bytes.
_COMPARED_END = 64
#: Bytes of the manifest for one inline buffer, at most.
_PLACE = 24
#: The most parts of one message. The manifest has room for them also if the message has ``MAX_BUFFERS`` buffers.
_MOST_PARTS = 4_096
#: The part of a pushed file that is plaintext; the rest is for the tags of its segments.
_PLAINTEXT = 0.9999


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one message: the bytes of the first one and of the others, and whether all get pushed names."""

    first: int
    size: int
    pushed: bool

    @property
    def is_probed(self) -> bool:
        """Return whether the first part shows the speed of the link. It is larger than the others, and always pushed."""
        return self.first > self.size

    def is_pushed(self, index: int) -> bool:
        """Return whether the file of a part gets a pushed name."""
        return self.pushed or (index == 0 and self.is_probed)


@dataclass(frozen=True, slots=True)
class LayoutLimits:
    """The sizes with which a participant lays out its messages, see :class:`~syft_flwr.transport.base.Properties`."""

    inline_size: int
    part_size: int
    pushed_size: int
    pushed_message: int
    probe_size: int = 0

    @classmethod
    def of(cls, properties: Properties) -> "LayoutLimits":
        return cls(
            properties.inline_size,
            properties.part_size,
            properties.pushed_size,
            properties.pushed_message,
            properties.probe_size,
        )

    def parts_of(self, total: int) -> Parts:
        """Return the parts of a message with ``total`` bytes outside its envelope.

        Pushed parts fit into one push each. They have about equal sizes, so that the last of them arrives early.
        """
        first = min(self.probe_size, total)
        if 0 < total <= self.pushed_message:
            rest = max(1, total - first)
            count = -(-rest // min(self.part_size, int(self.pushed_size * _PLAINTEXT)))
            size, pushed = -(-rest // count), True
        else:
            size, pushed = min(max(self.part_size, -(-total // _MOST_PARTS)), MAX_OBJECT), False
        return Parts(max(first, size), size, pushed)


def split_inline(buffers: Sequence[bytes], inline_size: int = INLINE_TOTAL, always: Collection[int] = ()) -> list[bool]:
    """Return for each buffer whether it is stored inline.

    All buffers are inline if together they have at most ``INLINE_TOTAL`` bytes, or if they and their places in the
    manifest have at most ``inline_size`` bytes. Otherwise, only buffers of at most ``INLINE_BUFFER`` bytes are inline, in
    order, until ``INLINE_TOTAL`` is used up. The buffers with a number in ``always`` are inline in any case.

    Raises:
        LocalProtocolError: the buffers are more, or larger, than a message may have.
    """
    room = INLINE_TOTAL
    total = sum(len(buffer) for buffer in buffers)
    if len(buffers) > MAX_BUFFERS or total > MAX_MESSAGE:
        raise LocalProtocolError(
            f"a message of {len(buffers)} buffers and {total} bytes; at most {MAX_BUFFERS} and {MAX_MESSAGE} are allowed",
            travels=True,
            hint="Send fewer or smaller arrays in one message.",
        )
    if total <= room or total + _PLACE * len(buffers) <= inline_size:
        return [True] * len(buffers)
    inline: list[bool] = []
    room -= sum(len(buffers[number]) for number in always)
    for number, buffer in enumerate(buffers):
        if number in always:
            inline.append(True)
            continue
        fits = not len(buffer) or (len(buffer) <= INLINE_BUFFER and len(buffer) <= room)
        room -= len(buffer) if fits else 0
        inline.append(fits)
    return inline


def cut(sizes: Sequence[int], parts: Parts) -> Iterator[list[tuple[int, int, int]]]:
    """Cut joined buffers of these sizes into parts. Yields each part as a list of (buffer number, start, end)."""
    part: list[tuple[int, int, int]] = []
    room = parts.first
    for number, size in enumerate(sizes):
        start = 0
        while start < size:
            end = min(size, start + room)
            part.append((number, start, end))
            room -= end - start
            start = end
            if not room:
                yield part
                part, room = [], parts.size
    if part:
        yield part


def lay_out(
    buffers: Sequence[bytes], inline: Sequence[bool], objects: list[ObjectRef], pieces: Sequence[list[Piece]]
) -> Body:
    """Return the body of ``buffers``. The buffers that are not inline have ``pieces``, in the same order."""
    located = iter(pieces)
    refs = [
        BufferRef(size=len(buffer), pieces=[] if small else [list(piece) for piece in next(located)])
        for buffer, small in zip(buffers, inline, strict=True)
    ]
    small_bytes = b"".join(buffer for buffer, small in zip(buffers, inline, strict=True) if small)
    return Body(Manifest(buffers=refs, objects=objects), small_bytes)


def likeness(buffer: bytes) -> tuple[int, bytes]:
    """Return a cheap key for a comparison: equal buffers have the same key, different ones rarely."""
    return len(buffer), buffer[-_COMPARED_END:]


def distinct(buffers: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
    """Return ``buffers`` with one copy for :data:`MAX_USES` equal ones, and for each buffer its position in the result.

    Tied arrays of a model occur as the same bytes object twice, or as two bytes objects with equal content. A model of
    zeros has many equal arrays.
    """
    kept: list[bytes] = []
    positions: list[int] = []
    copies: dict[int, int] = {}
    for buffer, (first, use) in zip(buffers, occurrences(buffers), strict=True):
        if use % MAX_USES == 0:
            copies[first] = len(kept)
            kept.append(buffer)
        positions.append(copies[first])
    return kept, positions


def occurrences(buffers: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return for each buffer the position of the first equal one, and how many equal ones come before it."""
    found: list[tuple[int, int]] = []
    alike: dict[tuple[int, bytes], list[int]] = {}
    uses: Counter[int] = Counter()
    for number, buffer in enumerate(buffers):
        candidates = alike.setdefault(likeness(buffer), [])
        first = next((candidate for candidate in candidates if buffers[candidate] == buffer), number)
        if first == number:
            candidates.append(number)
        found.append((first, uses[first]))
        uses[first] += 1
    return found


def personal(messages: Sequence[Sequence[bytes]]) -> list[bool]:
    """Return for each message whether only its recipient gets its buffers, up to ``INLINE_TOTAL`` shared bytes.

    A single message is not known to be personal: a strategy can send the same buffers in another call. Buffers with the
    same :func:`likeness` count as equal.
    """
    uses: Counter[tuple[int, bytes]] = Counter()
    for message in messages:
        uses.update({likeness(buffer) for buffer in message})
    shared = [sum(len(buffer) for buffer in message if uses[likeness(buffer)] > 1) for message in messages]
    return [len(messages) > 1 and size <= INLINE_TOTAL for size in shared]
