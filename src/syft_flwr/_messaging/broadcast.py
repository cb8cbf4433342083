"""The same buffers for many addressees: sealed and written once, deleted when the last of them has answered.

Buffers are recognised by the identity of their ``bytes`` object (which a strategy hands to every node of a round), so no
hash is needed; while a buffer is remembered it is kept alive, and its identity cannot be taken by another. A buffer is
forgotten at the first write that does not use it and after all who were sent it have answered.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from syft_flwr._messaging.body import Body, ObjectRef, Piece, split_inline
from syft_flwr._messaging.objects import ObjectFolder, lay_out


@dataclass(slots=True)
class _Remembered:
    buffer: bytes
    pieces: list[tuple[ObjectRef, int, int]]


@dataclass(slots=True)
class _Lease:
    ref: ObjectRef
    holders: set[str] = field(default_factory=set)


class Broadcast:
    """The aggregator's objects. Thread-safe: legacy strategies send from a thread per node."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._remembered: dict[int, _Remembered] = {}
        self._leases: dict[str, _Lease] = {}

    def make_body(self, buffers: Sequence[bytes], *, run: int, readers: Collection[str], holder: str) -> Body:
        """Return the body of one message, writing only what is not there yet; ``holder`` is the message's id.

        Raises:
            StorageFullError, TransportError: the objects could not be written.
        """
        inline = split_inline(buffers)
        large = [buffer for buffer, small in zip(buffers, inline, strict=True) if not small]
        with self._lock:
            self._write_new(large, run, readers)
            order: dict[str, int] = {}
            pieces: list[list[Piece]] = []
            for buffer in large:
                here = []
                for ref, offset, length in self._remembered[id(buffer)].pieces:
                    self._leases[ref.id].holders.add(holder)
                    here.append(Piece(order.setdefault(ref.id, len(order)), offset, length))
                pieces.append(here)
            objects = [self._leases[object_id].ref for object_id in order]
            if large:
                self._forget(keep={id(buffer) for buffer in large})
        return lay_out(buffers, inline, objects, pieces)

    def release(self, holder: str) -> None:
        """Say that this message needs its objects no longer; they stay as long as they may be sent again."""
        with self._lock:
            for lease in self._leases.values():
                lease.holders.discard(holder)
            self._delete_unused()

    def close(self) -> None:
        """Forget every buffer and delete every object."""
        with self._lock:
            self._remembered.clear()
            self._folder.delete([lease.ref for lease in self._leases.values()])
            self._leases.clear()

    def _write_new(self, large: Sequence[bytes], run: int, readers: Collection[str]) -> None:
        new = list({id(buffer): buffer for buffer in large if id(buffer) not in self._remembered}.values())
        if not new:
            return
        stored = self._folder.write(new, run=run, readers=readers, shared=True)
        self._leases.update((ref.id, _Lease(ref)) for ref in stored.objects)
        for buffer, pieces in zip(new, stored.pieces, strict=True):
            located = [(stored.objects[piece.object], piece.offset, piece.length) for piece in pieces]
            self._remembered[id(buffer)] = _Remembered(buffer, located)

    def _forget(self, keep: set[int]) -> None:
        for identity in [known for known in self._remembered if known not in keep]:
            held = (self._leases[ref.id].holders for ref, _, _ in self._remembered[identity].pieces)
            if not any(held):
                del self._remembered[identity]
        self._delete_unused()

    def _delete_unused(self) -> None:
        in_use = {ref.id for remembered in self._remembered.values() for ref, _, _ in remembered.pieces}
        for object_id, lease in list(self._leases.items()):
            if not lease.holders and object_id not in in_use:
                self._folder.delete([lease.ref])
                del self._leases[object_id]
