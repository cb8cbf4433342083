"""Writes large buffers as objects: immutable sealed files in the datasite of the sender.

* The large buffers of a message are joined and cut into objects of at most the part size of the transport. Each object
  has its own random key, so it can be written, read and sent again alone.
* If several participants can open an object, the signed envelope contains its SHA-256. All of them know the key, so
  without the hash one of them could forge the file for the others.
* Where files can vanish, an object also has a second name outside the shared folder: see ``own_links`` for the writer and
  ``peer_links`` for a reader.
* The module ``arrivals`` reads objects.
"""

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from syft_flwr._crypto import segments
from syft_flwr._messaging.layout import LayoutLimits, cut, distinct, lay_out, split_inline
from syft_flwr._messaging.own_files import discard
from syft_flwr._messaging.own_links import OwnLinks
from syft_flwr._messaging.peer_links import PeerLinks
from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.body import Body, ObjectRef, Piece
from syft_flwr.errors import IntegrityError, NotFoundError, StorageFullError, TransportError
from syft_flwr.names import AppNames, new_object_id
from syft_flwr.transport.base import Data, Entry, Transport

#: How often an object is written if another program deletes it before it has its second name.
_PUT_ATTEMPTS = 5


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
    #: The limits for the layout of messages; None: those of ``transport``, as they are at each write.
    limits: LayoutLimits | None = None

    #: The second names of the objects, if files can vanish: in the folder of this participant, and of a peer.
    own: OwnLinks | None = None
    arrived: PeerLinks | None = None

    @property
    def layout(self) -> LayoutLimits:
        """Return the limits for the layout of a message that is written now."""
        return self.limits or LayoutLimits.of(self.transport.properties)

    def write(self, buffers: Sequence[bytes], *, run: int, readers: Collection[str], shared: bool) -> Stored:
        """Seal and write ``buffers``, each of at least one byte.

        With ``shared``, several readers get the keys, so the SHA-256 of each object is recorded, too.

        Raises:
            StorageFullError, TransportError: not all could be written. The written objects are deleted again.
        """
        total = sum(len(buffer) for buffer in buffers)
        plan = self.layout.parts_of(total)
        parts = list(cut([len(buffer) for buffer in buffers], plan))
        ids = [new_object_id(run, answer=not shared) for _ in parts]
        self._require_room(total)
        pieces: list[list[Piece]] = [[] for _ in buffers]
        for index, spans in enumerate(parts):
            offset = 0
            for number, start, end in spans:
                pieces[number].append(Piece(index, offset, end - start))
                offset += end - start

        def write_one(index: int) -> ObjectRef:
            views = [memoryview(buffers[number])[start:end] for number, start, end in parts[index]]
            name = self.names.object(self.owner, ids[index], pushed=plan.is_pushed(index))
            return self._write_one(ids[index], name, views, readers, hashed=shared or not self.encryption)

        try:
            # The queue for pushes has room for a first part that is written before the others.
            first = [write_one(0)] if plan.is_probed else []
            return Stored([*first, *on_all_cores(write_one, range(len(first), len(parts)))], pieces)
        except BaseException:
            self.delete(ids)
            raise

    def _require_room(self, size: int) -> None:
        needed = segments.sealed_size(size) + self.transport.properties.reserve if size else 0
        free = self.transport.free_space()
        if free < needed:
            raise StorageFullError(
                f"{needed / 1e6:.0f} MB are needed to write this message, and {free / 1e6:.0f} MB are free",
                hint="Free disk space, then send again; nothing was written.",
            )

    def _write_one(
        self, object_id: str, name: str, views: list[memoryview], readers: Collection[str], *, hashed: bool
    ) -> ObjectRef:
        key = segments.new_key() if self.encryption else b""
        digest = None

        def sealed() -> Iterator[memoryview]:
            nonlocal digest
            digest = hashlib.sha256() if hashed else None
            for segment in segments.seal(key, views) if key else iter(views):
                if digest:
                    digest.update(segment)
                yield segment

        self._put(name, sealed, readers)
        return ObjectRef(
            id=object_id,
            size=sum(len(view) for view in views),
            key=key.hex(),
            sha256=digest.hexdigest() if digest else "",
        )

    def _put(self, name: str, data: Callable[[], Data], readers: Collection[str]) -> None:
        """Write one object and give it its second name. Write it again if another program deletes it in between."""
        for attempt in range(_PUT_ATTEMPTS):
            try:
                self.transport.put(name, data(), readers=readers)
                return self.own.add(name) if self.own else None
            except NotFoundError:
                if attempt == _PUT_ATTEMPTS - 1:
                    raise
        return None

    def put_back(self, needed: Collection[str], readers: Collection[str]) -> None:
        """Write those own objects in ``needed`` again that another program deleted, see :class:`OwnLinks`."""
        if self.own:
            self.own.put_back(needed, readers)

    def delete(self, ids: Collection[str]) -> None:
        """Delete objects that this participant wrote."""
        if self.own:
            self.own.delete(ids)
            return
        for object_id in ids:
            for name in self._names_of(object_id):
                discard(self.transport, name)

    def delete_orphans(self, entries: Iterable[Entry]) -> None:
        """Delete the files of own objects that no message needs. Where files vanish, delete them again if they return."""
        # All names first, because a listing need not survive changes of its folder.
        names = [entry.name for entry in entries]
        if self.own:
            self.own.delete_orphans(names)
            return
        for name in names:
            discard(self.transport, name)

    def put_again(self, object_id: str, *, readers: Collection[str]) -> str:
        """Write an own object again as a later attempt, see :meth:`OwnLinks.put_again`; return the name of the file.

        Raises:
            StorageFullError, TransportError: the file could not be written.
        """
        self._require_room(sum(self.sizes_of([object_id]).values()))
        return self.own.put_again(object_id, readers) if self.own else ""

    def sizes_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the bytes of the files of those own objects that exist in the folder, by id."""
        sizes: dict[str, int] = {}
        for object_id in ids:
            for name in self._names_of(object_id):
                # An object in a folder that cannot be read now counts as one that does not exist.
                with contextlib.suppress(TransportError):
                    sizes[object_id] = self.transport.stat(name).size
        return sizes

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return those of ``objects`` that have not arrived yet.

        Raises:
            IntegrityError: an object does not have the announced size. A later call cannot succeed.
        """
        absent: list[ObjectRef] = []
        for ref in objects:
            size = self.file_size(ref)
            if self.arrived and self.arrived.has(ref.id, size):
                continue
            found = self._size_in_folder(ref)
            if found is None:
                absent.append(ref)
            elif found != size:
                raise IntegrityError(
                    f"object {ref.id} of {self.owner} has {found} bytes instead of {size}", travels=True
                )
        return absent

    def _size_in_folder(self, ref: ObjectRef) -> int | None:
        for name in self._names_of(ref.id):
            with contextlib.suppress(NotFoundError):
                return self.transport.stat(name).size
        return None

    def _names_of(self, object_id: str) -> list[str]:
        """Return the names under which the file of an object may be in the shared folder."""
        if second := self.own or self.arrived:
            return second.names_of(object_id)
        ways = (True, False) if self.transport.properties.pushed_size else (False,)
        return [self.names.object(self.owner, object_id, pushed=way) for way in ways]

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open the file of an object; raise NotFoundError or TooLargeError like the transport."""
        size = self.file_size(ref)
        if self.arrived:
            with contextlib.suppress(NotFoundError):
                return self.arrived.open(ref.id, max_size=size)
        for name in self._names_of(ref.id):
            with contextlib.suppress(NotFoundError):
                return self.transport.open(name, max_size=size)
        raise self._not_there(ref)

    def keep(self, ref: ObjectRef, path: Path) -> None:
        """Link or copy the file of an object to ``path``; raise NotFoundError or TooLargeError like the transport."""
        size = self.file_size(ref)
        if self.arrived:
            with contextlib.suppress(NotFoundError):
                return self.arrived.keep(ref.id, path, max_size=size)
        for name in self._names_of(ref.id):
            with contextlib.suppress(NotFoundError):
                return self.transport.keep(name, path, max_size=size)
        raise self._not_there(ref)

    def _not_there(self, ref: ObjectRef) -> NotFoundError:
        return NotFoundError(f"object {ref.id} of {self.owner} is not there")

    def distrust(self, ref: ObjectRef) -> bool:
        """Remove the second name of an object with wrong bytes; return whether its file can be read elsewhere now.

        Where all participants share one folder, a peer can change the bytes of a file after it got its second name.
        """
        return self.arrived is not None and self.arrived.drop(ref.id)

    def file_size(self, ref: ObjectRef) -> int:
        """Return the size of the file of an object, in bytes."""
        return segments.sealed_size(ref.size) if self.encryption else ref.size


def make_body(buffers: Sequence[bytes], folder: ObjectFolder, *, run: int, readers: Collection[str]) -> Body:
    """Write the large buffers of a reply, for one reader, and return the body that refers to them."""
    inline = split_inline(buffers, folder.layout.inline_size)
    large = [buffer for buffer, small in zip(buffers, inline, strict=True) if not small]
    different, positions = distinct(large)
    stored = folder.write(different, run=run, readers=readers, shared=False)
    return lay_out(buffers, inline, stored.objects, [stored.pieces[position] for position in positions])
