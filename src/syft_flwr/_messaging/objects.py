"""Large buffers as immutable sealed files in the sender's own datasite.

* The large buffers of a message are one stream, cut into objects of at most the transport's part size; each object has a
  random key of its own, so any part can be written, read and sent again alone.
* An object that several may open also carries its SHA-256 in the signed envelope: whoever knows a content key could
  otherwise forge a file for the others.
* They are read back in ``arrivals``.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from syft_flwr._crypto import segments
from syft_flwr._messaging.own_files import discard
from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.body import Body, BufferRef, Manifest, ObjectRef, Piece
from syft_flwr._messaging.wire.limits import INLINE_BUFFER, INLINE_TOTAL, MAX_BUFFERS, MAX_MESSAGE, MAX_OBJECT
from syft_flwr.errors import IntegrityError, LocalProtocolError, NotFoundError, StorageFullError
from syft_flwr.names import AppNames, new_object_id
from syft_flwr.transport.base import Data, Transport

#: Bytes that a write leaves free, for databases and logs.
_ROOM = 64 << 20
#: Arrays of one shape begin alike (numpy's header), so it is their ends that tell them apart cheaply.
_COMPARED_END = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the large buffers of one write lie: the objects, and for each buffer its pieces."""

    objects: list[ObjectRef]
    pieces: list[list[Piece]]


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """The objects of ``owner``, as one participant sees them."""

    transport: Transport
    names: AppNames
    owner: str
    encryption: bool

    def write(self, buffers: Sequence[bytes], *, run: int, readers: Collection[str], shared: bool) -> Stored:
        """Seal and write ``buffers`` (none of them empty); with ``shared``, for several readers.

        Raises:
            StorageFullError, TransportError: not all could be written; what was is removed again.
        """
        parts = list(_cut([len(buffer) for buffer in buffers], min(self.transport.properties.part_size, MAX_OBJECT)))
        ids = [new_object_id(run, answer=not shared) for _ in parts]
        self._require_room(sum(len(buffer) for buffer in buffers))
        pieces: list[list[Piece]] = [[] for _ in buffers]
        for index, spans in enumerate(parts):
            offset = 0
            for number, start, end in spans:
                pieces[number].append(Piece(index, offset, end - start))
                offset += end - start

        def write_one(index: int) -> ObjectRef:
            views = [memoryview(buffers[number])[start:end] for number, start, end in parts[index]]
            return self._write_one(ids[index], views, readers, hashed=shared or not self.encryption)

        try:
            return Stored(on_all_cores(write_one, range(len(parts))), pieces)
        except BaseException:
            self.delete(ids)
            raise

    def _require_room(self, size: int) -> None:
        needed = segments.sealed_size(size) + _ROOM if size else 0
        free = self.transport.free_space()
        if free < needed:
            raise StorageFullError(
                f"{needed / 1e6:.0f} MB are needed to write this message, and {free / 1e6:.0f} MB are free",
                hint="Free disk space, then send again; nothing was written.",
            )

    def _write_one(
        self, object_id: str, views: list[memoryview], readers: Collection[str], *, hashed: bool
    ) -> ObjectRef:
        key = segments.new_key() if self.encryption else b""
        digest = hashlib.sha256() if hashed else None

        def sealed() -> Iterator[memoryview]:
            for segment in segments.seal(key, views) if key else iter(views):
                if digest:
                    digest.update(segment)
                yield segment

        data: Data = sealed()
        self.transport.put(self.names.object(self.owner, object_id), data, readers=readers)
        return ObjectRef(
            id=object_id,
            size=sum(len(view) for view in views),
            key=key.hex(),
            sha256=digest.hexdigest() if digest else "",
        )

    def delete(self, ids: Collection[str]) -> None:
        """Remove objects that this participant wrote."""
        for object_id in ids:
            discard(self.transport, self.names.object(self.owner, object_id))

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return those of these objects that are not there yet.

        Raises:
            IntegrityError: one has another size than announced; it never will fit.
        """
        absent: list[ObjectRef] = []
        for ref in objects:
            try:
                found = self.transport.stat(self.names.object(self.owner, ref.id)).size
            except NotFoundError:
                absent.append(ref)
                continue
            if found != self.file_size(ref):
                raise IntegrityError(f"object {ref.id} has {found} bytes instead of {self.file_size(ref)}")
        return absent

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open an object's file; NotFoundError or TooLargeError as from the transport."""
        return self.transport.open(self.names.object(self.owner, ref.id), max_size=self.file_size(ref))

    def keep(self, ref: ObjectRef, path: Path) -> None:
        """Make ``path`` hold an object's file as it is; NotFoundError or TooLargeError as from the transport."""
        self.transport.keep(self.names.object(self.owner, ref.id), path, max_size=self.file_size(ref))

    def file_size(self, ref: ObjectRef) -> int:
        """Return how many bytes the file of an object has."""
        return segments.sealed_size(ref.size) if self.encryption else ref.size


def make_body(buffers: Sequence[bytes], folder: ObjectFolder, *, run: int, readers: Collection[str]) -> Body:
    """Write the large buffers of an answer, for one reader, and return the body that refers to them."""
    inline = split_inline(buffers)
    large = [buffer for buffer, small in zip(buffers, inline, strict=True) if not small]
    different, positions = distinct(large)
    stored = folder.write(different, run=run, readers=readers, shared=False)
    return lay_out(buffers, inline, stored.objects, [stored.pieces[position] for position in positions])


def lay_out(
    buffers: Sequence[bytes], inline: Sequence[bool], objects: list[ObjectRef], pieces: Sequence[list[Piece]]
) -> Body:
    """Return the body of ``buffers``, of which those that are not inline lie in ``pieces``, in order."""
    located = iter(pieces)
    refs = [
        BufferRef(size=len(buffer), pieces=[] if small else [list(piece) for piece in next(located)])
        for buffer, small in zip(buffers, inline, strict=True)
    ]
    small_bytes = b"".join(buffer for buffer, small in zip(buffers, inline, strict=True) if small)
    return Body(Manifest(buffers=refs, objects=objects), small_bytes)


def _cut(sizes: Sequence[int], part_size: int) -> Iterator[list[tuple[int, int, int]]]:
    """Cut buffers, laid end to end, into parts: lists of (buffer number, start, end)."""
    part: list[tuple[int, int, int]] = []
    room = part_size
    for number, size in enumerate(sizes):
        start = 0
        while start < size:
            end = min(size, start + room)
            part.append((number, start, end))
            room -= end - start
            start = end
            if not room:
                yield part
                part, room = [], part_size
    if part:
        yield part


def split_inline(buffers: Sequence[bytes]) -> list[bool]:
    """Say for each buffer whether it rides inline: all if they are few bytes together, else the small ones first come.

    Raises:
        LocalProtocolError: they are more than a message may have.
    """
    room = INLINE_TOTAL
    total = sum(len(buffer) for buffer in buffers)
    if len(buffers) > MAX_BUFFERS or total > MAX_MESSAGE:
        raise LocalProtocolError(
            f"a message of {len(buffers)} buffers and {total} bytes; at most {MAX_BUFFERS} and {MAX_MESSAGE} are allowed"
        )
    if total <= room:
        return [True] * len(buffers)
    inline: list[bool] = []
    for buffer in buffers:
        fits = not len(buffer) or (len(buffer) <= INLINE_BUFFER and len(buffer) <= room)
        room -= len(buffer) if fits else 0
        inline.append(fits)
    return inline


def likeness(buffer: bytes) -> tuple[int, bytes]:
    """Return what equal buffers have in common and others seldom do."""
    return len(buffer), buffer[-_COMPARED_END:]


def distinct(buffers: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
    """Return ``buffers`` without those that equal an earlier one, and for each buffer its position among the rest.

    Tied arrays are the same bytes twice over, in one object or, where each was serialised for itself, in two.
    """
    kept: list[bytes] = []
    positions: list[int] = []
    alike: dict[tuple[int, bytes], list[int]] = {}
    for buffer in buffers:
        candidates = alike.setdefault(likeness(buffer), [])
        position = next((candidate for candidate in candidates if kept[candidate] == buffer), len(kept))
        if position == len(kept):
            candidates.append(position)
            kept.append(buffer)
        positions.append(position)
    return kept, positions
