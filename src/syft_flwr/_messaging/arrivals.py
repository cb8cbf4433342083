"""Opens the objects of one body as they arrive, in any order and possibly hours apart.

* A buffer is allocated when its first object arrives. The operating system provides memory only for written pages, so
  the sizes in a manifest cost no memory before the bytes arrive.
* Objects are decrypted directly into their buffers, without a second copy.
* An object is opened only if it has exactly the announced size. It is accepted only if its tags are right. If several
  participants can open it, its SHA-256 must also match the signed envelope.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import BinaryIO, Protocol

from syft_flwr._crypto import segments
from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.body import Body, Manifest, ObjectRef, Piece
from syft_flwr.errors import IntegrityError, MalformedError, NotFoundError, TooLargeError

_Span = tuple[int, memoryview]


class Source(Protocol):
    """The interface of a place with the objects of one owner."""

    @property
    def owner(self) -> str: ...

    @property
    def encryption(self) -> bool: ...

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return those of ``objects`` that have not arrived yet; IntegrityError if one can never be valid."""

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open the file of an object."""

    def distrust(self, ref: ObjectRef) -> bool:
        """Give up the file of an object, because its bytes are wrong; return whether another one may exist."""


class Arrival:
    """The buffers of one body while its objects arrive. Used by one thread at a time.

    Args:
        folder: the place with the objects.
        body: the body that refers to the objects.
        shared: whether several participants can open the objects. Each object then needs a hash in the envelope.

    Raises:
        MalformedError: two buffers overlap, so they would need more memory than the size of the objects.
    """

    def __init__(self, folder: Source, body: Body, *, shared: bool) -> None:
        self._folder = folder
        self._body = body
        self._shared = shared
        self._waiting = set(range(len(body.manifest.objects)))
        self._located = [tuple(ref.located()) for ref in body.manifest.buffers]
        firsts: dict[tuple[Piece, ...], int] = {}
        #: For each buffer, the number of the first buffer with equal pieces. This hashes each long tuple only once.
        self._same = [firsts.setdefault(pieces, number) for number, pieces in enumerate(self._located)]
        self._files: dict[int, io.BytesIO] = {}
        #: The SHA-256 of the file of each opened object.
        self._digests: dict[int, bytes] = {}
        #: Receives the bytes of objects that belong to no buffer.
        self._scratch = memoryview(b"")
        _require_disjoint(body.manifest, firsts.keys())
        #: For each object, its pieces: (offset in the object, buffer number, offset in the buffer, length).
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
    def digest(self) -> str:
        """Return the SHA-256 over those of the files of all objects, as they were opened; empty if there is no object.

        A peer that knows the key of an object can write another valid file. A second read must give the same digest.
        """
        digests = b"".join(self._digests[index] for index in range(len(self._parts)))
        return hashlib.sha256(digests).hexdigest() if digests else ""

    @property
    def objects(self) -> Sequence[ObjectRef]:
        """Return all objects."""
        return self._body.manifest.objects

    @property
    def missing(self) -> list[ObjectRef]:
        """Return the objects that are not opened yet."""
        return [self._body.manifest.objects[index] for index in sorted(self._waiting)]

    @property
    def counts(self) -> tuple[int, int]:
        """Return the number of opened objects, and the number of all objects."""
        total = len(self._parts)
        return total - len(self._waiting), total

    @property
    def progress(self) -> str:
        """Return the number of opened objects as text, such as "2 of 5 objects"."""
        opened, total = self.counts
        return f"{opened} of {total} objects"

    def open_arrived(self) -> bool:
        """Open the objects that arrived since the last call; return whether any did.

        Raises:
            IntegrityError, MalformedError: an object does not match the manifest. A later call cannot succeed.
        """
        manifest = self._body.manifest
        absent = {ref.id for ref in self._folder.missing(self.missing)}
        here = [index for index in sorted(self._waiting) if manifest.objects[index].id not in absent]
        try:
            targets = [self._targets(index) for index in here]
        except MemoryError as error:
            hint = "Run this participant on a machine with more memory."
            raise IntegrityError(
                "the message announces more bytes than this machine can allocate", travels=True, hint=hint
            ) from error

        def open_one(position: int) -> None:
            index = here[position]
            self._digests[index] = self._open(manifest.objects[index], targets[position])

        try:
            on_all_cores(open_one, range(len(here)))
        except NotFoundError:
            # The owner deleted an object after the check above. All objects of this call are opened again later.
            return False
        finally:
            # While a view exists, BytesIO.getvalue() returns a copy.
            for views in targets:
                views.clear()
        self._waiting.difference_update(here)
        return bool(here)

    def buffers(self) -> list[bytes]:
        """Return the buffers of a complete body."""
        values = {number: file.getvalue() for number, file in self._files.items()}
        return list(_assemble(self._body, self._same, values))

    def _targets(self, index: int) -> list[memoryview]:
        """Return the memory for all bytes of an object, with scratch memory for bytes that belong to no buffer."""
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

    def _open(self, ref: ObjectRef, targets: list[memoryview]) -> bytes:
        try:
            return self._open_file(ref, targets)
        except (IntegrityError, TooLargeError):
            if not self._folder.distrust(ref):
                raise
            # This raises an error if the other file has a wrong size.
            self._folder.missing([ref])
            return self._open_file(ref, targets)

    def _open_file(self, ref: ObjectRef, targets: list[memoryview]) -> bytes:
        """Open the file of an object, and return its SHA-256."""
        folder = self._folder
        if bool(ref.key) != folder.encryption or (not ref.sha256 and (self._shared or not folder.encryption)):
            raise MalformedError(
                f"object {ref.id} of {folder.owner} does not have the key and hash that its message requires"
            )
        digest = hashlib.sha256()
        with folder.open(ref) as file:
            opened = segments.open_segments(bytes.fromhex(ref.key), file, targets) if ref.key else _copy(file, targets)
            try:
                for segment in opened:
                    digest.update(segment)
            except IntegrityError as error:
                raise IntegrityError(f"object {ref.id} of {folder.owner}: {error}", travels=True) from error
            except OSError as error:
                told = f"object {ref.id} of {folder.owner} cannot be read"
                raise IntegrityError(f"{told}: {error.strerror}", told=told) from error
        if ref.sha256 and digest.hexdigest() != ref.sha256:
            raise IntegrityError(f"object {ref.id} of {folder.owner} does not match its signed SHA-256", travels=True)
        return digest.digest()


def read(folder: Source, body: Body, *, shared: bool) -> list[bytes]:
    """Return the buffers of a body; all its objects must have arrived.

    Raises:
        NotFoundError: the owner has deleted an object.
        IntegrityError, MalformedError: an object does not match the manifest, or buffers overlap.
    """
    arrival = Arrival(folder, body, shared=shared)
    arrival.open_arrived()
    if not arrival.complete:
        raise NotFoundError(f"objects of {folder.owner} are missing", travels=True)
    return arrival.buffers()


def _require_disjoint(manifest: Manifest, located: Iterable[tuple[Piece, ...]]) -> None:
    """Raise MalformedError if buffers overlap: they need more memory than arrived. Buffers with equal pieces may."""
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
        raise IntegrityError("the file is longer than announced")


def _assemble(body: Body, same: list[int], values: dict[int, bytes]) -> Iterator[bytes]:
    start = 0
    for ref, number in zip(body.manifest.buffers, same, strict=True):
        if ref.pieces:
            yield values[number]
        else:
            yield body.inline[start : start + ref.size]
            start += ref.size
