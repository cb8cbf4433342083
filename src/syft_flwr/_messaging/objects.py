"""Writes large buffers as objects: immutable sealed files in the datasite of the sender.

* The large buffers of a message are joined and cut into objects of at most the part size of the transport. Each object
  has its own random key, so it can be written, read and sent again alone.
* If several participants can open an object, the signed envelope contains its SHA-256. All of them know the key, so
  without the hash one of them could forge the file for the others.
* The module ``arrivals`` reads objects.
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

#: Bytes of disk space that a write leaves free for databases and logs.
_ROOM = 64 << 20
#: Arrays of one shape start with the same NumPy header, so a cheap comparison uses the last bytes.
_COMPARED_END = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """The result of a write: the objects, and for each buffer its pieces in them."""

    objects: list[ObjectRef]
    pieces: list[list[Piece]]


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """The folder with the objects of ``owner``, as one participant sees it."""

    transport: Transport
    names: AppNames
    owner: str
    encryption: bool

    def write(self, buffers: Sequence[bytes], *, run: int, readers: Collection[str], shared: bool) -> Stored:
        """Seal and write ``buffers``, each of at least one byte.

        With ``shared``, several readers get the keys, so the SHA-256 of each object is recorded, too.

        Raises:
            StorageFullError, TransportError: not all could be written. The written objects are deleted again.
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
        """Delete objects that this participant wrote."""
        for object_id in ids:
            discard(self.transport, self.names.object(self.owner, object_id))

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return those of ``objects`` that have not arrived yet.

        Raises:
            IntegrityError: an object does not have the announced size. A later call cannot succeed.
        """
        absent: list[ObjectRef] = []
        for ref in objects:
            try:
                found = self.transport.stat(self.names.object(self.owner, ref.id)).size
            except NotFoundError:
                absent.append(ref)
                continue
            if found != self.file_size(ref):
                size = self.file_size(ref)
                raise IntegrityError(f"object {ref.id} of {self.owner} has {found} bytes instead of {size}")
        return absent

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open the file of an object; raise NotFoundError or TooLargeError like the transport."""
        return self.transport.open(self.names.object(self.owner, ref.id), max_size=self.file_size(ref))

    def keep(self, ref: ObjectRef, path: Path) -> None:
        """Link or copy the file of an object to ``path``; raise NotFoundError or TooLargeError like the transport."""
        self.transport.keep(self.names.object(self.owner, ref.id), path, max_size=self.file_size(ref))

    def file_size(self, ref: ObjectRef) -> int:
        """Return the size of the file of an object, in bytes."""
        return segments.sealed_size(ref.size) if self.encryption else ref.size


def make_body(buffers: Sequence[bytes], folder: ObjectFolder, *, run: int, readers: Collection[str]) -> Body:
    """Write the large buffers of a reply, for one reader, and return the body that refers to them."""
    inline = split_inline(buffers)
    large = [buffer for buffer, small in zip(buffers, inline, strict=True) if not small]
    different, positions = distinct(large)
    stored = folder.write(different, run=run, readers=readers, shared=False)
    return lay_out(buffers, inline, stored.objects, [stored.pieces[position] for position in positions])


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


def _cut(sizes: Sequence[int], part_size: int) -> Iterator[list[tuple[int, int, int]]]:
    """Cut joined buffers of these sizes into parts. Yields each part as a list of (buffer number, start, end)."""
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
    """Return for each buffer whether it is stored inline.

    All buffers are inline if together they have at most ``INLINE_TOTAL`` bytes. Otherwise, only buffers of at most
    ``INLINE_BUFFER`` bytes are inline, in order, until this total is used up.

    Raises:
        LocalProtocolError: the buffers are more, or larger, than a message may have.
    """
    room = INLINE_TOTAL
    total = sum(len(buffer) for buffer in buffers)
    if len(buffers) > MAX_BUFFERS or total > MAX_MESSAGE:
        raise LocalProtocolError(
            f"a message of {len(buffers)} buffers and {total} bytes; "
            f"at most {MAX_BUFFERS} and {MAX_MESSAGE} are allowed",
            hint="Send fewer or smaller arrays in one message.",
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
    """Return a cheap key for a comparison: equal buffers have the same key, different ones rarely."""
    return len(buffer), buffer[-_COMPARED_END:]


def distinct(buffers: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
    """Return ``buffers`` without duplicates, and for each buffer its position in the result.

    Tied arrays of a model occur as the same bytes object twice, or as two bytes objects with equal content.
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
