"""Seals and writes equal buffers once for many data owners, and deletes the objects after the last reply.

* Within a round, a strategy passes the same ``bytes`` object to every node, so ``id()`` finds a known buffer. This
  class keeps a reference to each known buffer, so that Python cannot give its id to another object.
* In the next round, an unchanged array is a new ``bytes`` object with equal content. Such buffers are found by their
  length and last bytes, and then compared. A comparison stops at the first difference, so it is faster than a hash.
* Of each :data:`MAX_USES` equal buffers in a message, one copy is stored, because a reader refuses more uses of one copy.
* A buffer is forgotten when the latest write did not use it and every request with it is finished.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from syft_flwr._messaging.layout import distinct, lay_out, likeness, occurrences, split_inline
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.body import Body, ObjectRef, Piece
from syft_flwr._messaging.wire.limits import INLINE_TOTAL, MAX_USES
from syft_flwr.errors import IntegrityError

#: The ``id()`` of a buffer, and the number of its copy in the message.
_Key = tuple[int, int]


@dataclass(slots=True)
class _Remembered:
    buffer: bytes
    pieces: list[tuple[ObjectRef, int, int]]
    #: The latest write did not use it.
    superseded: bool = False


@dataclass(slots=True)
class _Lease:
    ref: ObjectRef
    holders: set[str] = field(default_factory=set)


class Broadcast:
    """The objects that the aggregator writes. Thread-safe, because legacy strategies use one thread for each node."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._remembered: dict[_Key, _Remembered] = {}
        self._leases: dict[str, _Lease] = {}
        #: Objects of an earlier process of this run, by id, with the ids of the requests that need them.
        self._adopted: dict[str, set[str]] = {}

    def make_body(
        self,
        buffers: Sequence[bytes],
        *,
        run: int,
        readers: Collection[str],
        holder: str,
        personal: bool = False,
        always_inline: Collection[int] = (),
    ) -> tuple[Body, int]:
        """Write the objects of a message that do not exist yet.

        Args:
            buffers: the content of the message.
            run: the run id.
            readers: the emails that may read the objects.
            holder: the id of the message.
            personal: whether only one participant gets the large buffers. They can then travel in the envelope.
            always_inline: the numbers of the buffers that travel in the envelope in any case.

        Returns:
            The body of the message, and the number of bytes of the objects that were written for it.

        Raises:
            StorageFullError, TransportError: the objects could not be written.
        """
        inline_size = self._folder.layout.inline_size if personal else INLINE_TOTAL
        inline = split_inline(buffers, inline_size, always_inline)
        large = [buffer for buffer, small in zip(buffers, inline, strict=True) if not small]
        if not large:
            return lay_out(buffers, inline, [], []), 0
        with self._lock:
            self._forget_lost(large)
            keys = [(id(buffer), use // MAX_USES) for buffer, (_, use) in zip(large, occurrences(large), strict=True)]
            placed = dict(zip(keys, large, strict=True))
            known = self._recognise(placed)
            order: dict[str, int] = {}
            pieces: list[list[Piece]] = []
            self._supersede(keep=known.keys())
            there = set(self._leases)
            new = [(key, buffer) for key, buffer in zip(keys, large, strict=True) if key not in known]
            known |= self._write_new(new, run, readers)
            for key in keys:
                here = []
                for ref, offset, length in known[key].pieces:
                    self._leases[ref.id].holders.add(holder)
                    here.append(Piece(order.setdefault(ref.id, len(order)), offset, length))
                pieces.append(here)
            objects = [self._leases[object_id].ref for object_id in order]
            written = sum(self._folder.file_size(ref) for ref in objects if ref.id not in there)
        return lay_out(buffers, inline, objects, pieces), written

    def adopt(self, objects: Collection[str], *, holder: str) -> None:
        """Keep objects of an earlier process of this run until :meth:`release` for the message ``holder``."""
        with self._lock:
            for object_id in objects:
                self._adopted.setdefault(object_id, set()).add(holder)

    def put_again(self, object_id: str, *, readers: Collection[str]) -> str | None:
        """Write an object that is still needed again; see :meth:`ObjectFolder.put_again`.

        Return None while a message is written: that can take long, and the caller tries again.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            needed = object_id in self._leases or object_id in self._adopted
            return self._folder.put_again(object_id, readers=readers) if needed else ""
        finally:
            self._lock.release()

    def release(self, holder: str) -> None:
        """Release the objects of the message ``holder``, and delete the unused ones.

        The objects of the latest write stay, because the next round may use them again.
        """
        with self._lock:
            for lease in self._leases.values():
                lease.holders.discard(holder)
            self._delete_unused()
            for object_id, holders in list(self._adopted.items()):
                holders.discard(holder)
                if not holders:
                    self._folder.delete([object_id])
                    del self._adopted[object_id]

    def put_back(self, readers: Collection[str]) -> None:
        """Write the objects of open requests again that another program deleted.

        Do nothing while a message is written: that can take long, and the caller looks again at the next scan.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            held = [object_id for object_id, lease in self._leases.items() if lease.holders]
            self._folder.put_back([*held, *self._adopted], readers)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Forget all buffers and delete all objects."""
        with self._lock:
            self._remembered.clear()
            self._folder.delete([*self._leases, *self._adopted])
            self._leases.clear()
            self._adopted.clear()

    def _forget_lost(self, large: Sequence[bytes]) -> None:
        """Forget buffers with missing or truncated objects, so that these are written again."""
        wanted = {likeness(buffer) for buffer in large}
        for identity, remembered in list(self._remembered.items()):
            idle = [ref for ref, _, _ in remembered.pieces if not self._leases[ref.id].holders]
            if idle and likeness(remembered.buffer) in wanted and not self._is_whole(idle):
                del self._remembered[identity]

    def _is_whole(self, objects: Sequence[ObjectRef]) -> bool:
        try:
            return not self._folder.missing(objects)
        except IntegrityError:
            return False

    def _recognise(self, large: Mapping[_Key, bytes]) -> dict[_Key, _Remembered]:
        """Return the known ones of the buffers ``large``."""
        known: dict[_Key, _Remembered] = {}
        by_shape: dict[tuple[int, bytes, int], list[_Remembered]] = {}
        for (_, copy), remembered in self._remembered.items():
            by_shape.setdefault((*likeness(remembered.buffer), copy), []).append(remembered)
        for key, buffer in large.items():
            if key not in self._remembered:
                alike = by_shape.get((*likeness(buffer), key[1]), ())
                same = next((old for old in alike if old.buffer == buffer), None)
                if same is None:
                    continue
                # The new bytes object replaces the old one, so that only one of them stays in memory.
                self._remembered.pop((id(same.buffer), key[1]), None)
                self._remembered[key] = _Remembered(buffer, same.pieces)
            known[key] = self._remembered[key]
        return known

    def _write_new(
        self, new: Sequence[tuple[_Key, bytes]], run: int, readers: Collection[str]
    ) -> dict[_Key, _Remembered]:
        if not new:
            return {}
        different, positions = distinct([buffer for _, buffer in new])
        stored = self._folder.write(different, run=run, readers=readers, shared=True)
        self._leases.update((ref.id, _Lease(ref)) for ref in stored.objects)
        for (key, buffer), position in zip(new, positions, strict=True):
            pieces = stored.pieces[position]
            located = [(stored.objects[piece.object], piece.offset, piece.length) for piece in pieces]
            self._remembered[key] = _Remembered(buffer, located)
        return {key: self._remembered[key] for key, _ in new}

    def _supersede(self, keep: Collection[_Key]) -> None:
        for identity, remembered in self._remembered.items():
            remembered.superseded = identity not in keep
        self._delete_unused()

    def _delete_unused(self) -> None:
        for identity, remembered in list(self._remembered.items()):
            held = (self._leases[ref.id].holders for ref, _, _ in remembered.pieces)
            if remembered.superseded and not any(held):
                del self._remembered[identity]
        in_use = {ref.id for remembered in self._remembered.values() for ref, _, _ in remembered.pieces}
        for object_id, lease in list(self._leases.items()):
            if not lease.holders and object_id not in in_use:
                self._folder.delete([object_id])
                del self._leases[object_id]
