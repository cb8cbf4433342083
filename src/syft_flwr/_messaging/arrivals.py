"""Opens the objects of one body as they arrive: in any order, hours apart.

* A buffer is allocated when the first object of it is there. The system gives memory to what is written only, so what a
  manifest announces costs nothing before the bytes have really arrived.
* Objects are decrypted into their final place: there is no second copy.
* An object is opened only if it has exactly the announced size, and counts only if its tags (and, where several may open
  it, its SHA-256 from the signed envelope) are right.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import BinaryIO, Protocol

from syft_flwr._crypto import segments
from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.body import Body, Manifest, ObjectRef, Piece
from syft_flwr.errors import IntegrityError, MalformedError, NotFoundError

_Span = tuple[int, memoryview]


class Source(Protocol):
    """Where the objects of one owner are opened from."""

    @property
    def owner(self) -> str: ...

    @property
    def encryption(self) -> bool: ...

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return those of these objects that are not there yet; IntegrityError if one never will be."""

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open an object's file."""


class Arrival:
    """The buffers of one body. Used by one thread at a time.

    Args:
        folder: whose objects they are.
        body: what refers to them.
        shared: several may open them, so that each needs its hash in the envelope.

    Raises:
        MalformedError: two buffers overlap: they would need more than arrives.
    """

    def __init__(self, folder: Source, body: Body, *, shared: bool) -> None:
        self._folder = folder
        self._body = body
        self._shared = shared
        self._waiting = set(range(len(body.manifest.objects)))
        self._located = [tuple(ref.located()) for ref in body.manifest.buffers]
        firsts: dict[tuple[Piece, ...], int] = {}
        #: For each buffer, the first one that is the same pieces. Their hash is worked out once: it is as long as they are.
        self._same = [firsts.setdefault(pieces, number) for number, pieces in enumerate(self._located)]
        self._files: dict[int, io.BytesIO] = {}
        #: Where bytes go that nobody wants.
        self._scratch = memoryview(b"")
        _require_disjoint(body.manifest, firsts.keys())
        #: For each object, the buffers that lie in it: where there, which, where in the buffer, how many bytes.
        self._parts: list[list[tuple[int, int, int, int]]] = [[] for _ in body.manifest.objects]
        for pieces, number in firsts.items():
            start = 0
            for piece in pieces:
                self._parts[piece.object].append((piece.offset, number, start, piece.length))
                start += piece.length

    @property
    def complete(self) -> bool:
        return not self._waiting

    @property
    def missing(self) -> list[ObjectRef]:
        """The objects that were not opened yet."""
        return [self._body.manifest.objects[index] for index in sorted(self._waiting)]

    @property
    def progress(self) -> str:
        """How much is there, for people."""
        total = len(self._parts)
        return f"{total - len(self._waiting)} of {total} objects"

    def open_arrived(self) -> bool:
        """Open the objects that came since the last call; return whether there were any.

        Raises:
            IntegrityError, MalformedError: an object is not what the manifest says; it never will be.
        """
        manifest = self._body.manifest
        absent = {ref.id for ref in self._folder.missing(self.missing)}
        here = [index for index in sorted(self._waiting) if manifest.objects[index].id not in absent]
        try:
            targets = [self._targets(index) for index in here]
        except MemoryError as error:
            raise IntegrityError("the message announces more than this machine has memory for") from error

        def open_one(position: int) -> None:
            self._open(manifest.objects[here[position]], targets[position])

        try:
            on_all_cores(open_one, range(len(here)))
        except NotFoundError:
            # Deleted since it was looked for. Those that were opened are opened again when the rest is there.
            return False
        finally:
            # While a view of it lives, getvalue() would give a second copy.
            for views in targets:
                views.clear()
        self._waiting.difference_update(here)
        return bool(here)

    def buffers(self) -> list[bytes]:
        """Return the buffers of a complete body."""
        values = {number: file.getvalue() for number, file in self._files.items()}
        return list(_assemble(self._body, self._same, values))

    def _targets(self, index: int) -> list[memoryview]:
        """Return where the bytes of a whole object go, with scratch where nobody wants them."""
        targets: list[memoryview] = []
        position = 0
        for offset, number, start, length in sorted(self._parts[index]):
            targets += self._unwanted(offset - position)
            if number not in self._files:
                self._files[number] = io.BytesIO(bytes(self._body.manifest.buffers[number].size))
            targets.append(self._files[number].getbuffer()[start : start + length])
            position = offset + length
        return [*targets, *self._unwanted(self._body.manifest.objects[index].size - position)]

    def _unwanted(self, size: int) -> Iterator[memoryview]:
        if size > 0 and not self._scratch:
            self._scratch = memoryview(bytearray(segments.SEGMENT_SIZE))
        while size > 0:
            yield self._scratch[:size]
            size -= len(self._scratch)

    def _open(self, ref: ObjectRef, targets: list[memoryview]) -> None:
        folder = self._folder
        if bool(ref.key) != folder.encryption or (not ref.sha256 and (self._shared or not folder.encryption)):
            raise MalformedError(f"object {ref.id} is not protected as its envelope demands")
        digest = hashlib.sha256()
        with folder.open(ref) as file:
            opened = segments.open_segments(bytes.fromhex(ref.key), file, targets) if ref.key else _copy(file, targets)
            try:
                for segment in opened:
                    if ref.sha256:
                        digest.update(segment)
            except IntegrityError as error:
                raise IntegrityError(f"object {ref.id} of {folder.owner}: {error}") from error
            except OSError as error:
                raise IntegrityError(f"object {ref.id} of {folder.owner} cannot be read: {error.strerror}") from error
        if ref.sha256 and digest.hexdigest() != ref.sha256:
            raise IntegrityError(f"object {ref.id} of {folder.owner} is not the one that was signed")


def read(folder: Source, body: Body, *, shared: bool) -> list[bytes]:
    """Return the buffers of a body whose objects have all arrived.

    Raises:
        NotFoundError: an object was deleted by its owner meanwhile.
        IntegrityError, MalformedError: an object is not what the manifest says, or is used twice over.
    """
    arrival = Arrival(folder, body, shared=shared)
    arrival.open_arrived()
    if not arrival.complete:
        raise NotFoundError(f"objects of {folder.owner} are missing")
    return arrival.buffers()


def _require_disjoint(manifest: Manifest, located: Iterable[tuple[Piece, ...]]) -> None:
    """Raise MalformedError if buffers overlap, unless they are the same pieces: they would need more than arrived."""
    spans: list[list[tuple[int, int]]] = [[] for _ in manifest.objects]
    for pieces in located:
        for piece in pieces:
            spans[piece.object].append((piece.offset, piece.offset + piece.length))
    for ref, taken in zip(manifest.objects, spans, strict=True):
        taken.sort()
        if any(start < end for (_, end), (start, _) in pairwise(taken)):
            raise MalformedError(f"two buffers overlap in object {ref.id}")


def _copy(file: BinaryIO, targets: list[memoryview]) -> Iterator[memoryview]:
    # Threads share the scratch memory, so the bytes to hash are read into memory of this call.
    own = memoryview(bytearray(min(segments.SEGMENT_SIZE, max(map(len, targets), default=0))))
    for target in targets:
        for start in range(0, len(target), segments.SEGMENT_SIZE):
            part = target[start : start + segments.SEGMENT_SIZE]
            segment = own[: len(part)]
            segments.read_exactly(file, segment)
            part[:] = segment
            yield segment
    if file.read(1):
        raise IntegrityError("there is more than was announced")


def _assemble(body: Body, same: list[int], values: dict[int, bytes]) -> Iterator[bytes]:
    start = 0
    for ref, number in zip(body.manifest.buffers, same, strict=True):
        if ref.pieces:
            yield values[number]
        else:
            yield body.inline[start : start + ref.size]
            start += ref.size
