"""Fuzz ``arrivals`` with any manifest, and objects that are missing, cut, changed or swapped, in any order.

The test computes the expected buffers as slices of the plaintext.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import ANNA_EMAIL
from hostile.targets.body import KEY
from syft_flwr._crypto import segments
from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire.body import Body, ObjectRef
from syft_flwr.errors import IntegrityError, MalformedError
from syft_flwr.names import AppNames
from syft_flwr.transport.memory import MemoryNetwork

#: Bytes of a segment instead of 1 MiB, so that a small object has many segments.
SEGMENT_SIZE = 64
_MOST_OBJECTS, _MOST_BYTES = 6, 4_096
_KEY = KEY.hex()
_PLAIN, _SHARED, _UNHASHED, _OTHER_KEYS = 1, 2, 4, 8
_GENUINE, _CHANGED, _CUT, _LONGER, _OTHER, _ABSENT, _FORGED = range(7)


def seeds() -> Iterator[bytes]:
    def manifest(*buffers: list[list[int]], objects: int = 2, size: int = 100) -> bytes:
        refs = [{"id": f"{number:032x}", "size": size, "key": _KEY, "sha256": "17" * 32} for number in range(objects)]
        sized = [{"size": sum(piece[2] for piece in pieces), "pieces": pieces} for pieces in buffers]
        return json.dumps({"buffers": [*sized, {"size": 3}], "objects": refs}).encode()

    layouts = (
        manifest([[0, 0, 100], [1, 0, 100]]),
        manifest([[0, 0, 50]], [[0, 50, 50], [1, 0, 10]], [[1, 10, 90]]),
        manifest([[0, 90, 10]], [[0, 90, 10]]),
        manifest([[0, 0, 60]], [[0, 50, 50]]),
        manifest([[1, 1, 1], [0, 99, 1]]),
        manifest(objects=1),
    )
    for layout in layouts:
        for mode in (0, _SHARED, _PLAIN, _PLAIN | _UNHASHED, _UNHASHED, _OTHER_KEYS, _OTHER_KEYS | _PLAIN):
            for edits in (b"", *(bytes([_GENUINE, kind]) for kind in range(1, 7)), bytes([_ABSENT, _LONGER])):
                yield frames.join([bytes([mode]), layout, b"abc", edits, b"\x01"])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that buffers are returned only if all objects are genuine, and then match the manifest."""
    flags, manifest, inline, edits, order = frames.split(data, 5)[:5]
    mode = flags[0] if flags else 0
    body = Guarded()(bodies.decode, len(manifest).to_bytes(4, "big") + manifest + inline)
    if body is None or len(body.manifest.objects) > _MOST_OBJECTS:
        return
    if any(ref.size > _MOST_BYTES for ref in body.manifest.objects):
        return
    usual, segments.SEGMENT_SIZE = segments.SEGMENT_SIZE, SEGMENT_SIZE
    try:
        _check(body, mode, edits.ljust(_MOST_OBJECTS, b"\x00"), bool(order[:1] > b"\x00"))
    finally:
        segments.SEGMENT_SIZE = usual


def _check(body: Body, mode: int, edits: bytes, backwards: bool) -> None:
    network = MemoryNetwork()
    folder = ObjectFolder(network.transport(ANNA_EMAIL), AppNames("app"), ANNA_EMAIL, not mode & _PLAIN)
    genuine = [_sealed(ref, _plaintext(number, ref), folder) for number, ref in enumerate(body.manifest.objects)]
    refs = [_announced(ref, file, mode) for ref, file in zip(body.manifest.objects, genuine, strict=True)]
    body = Body(body.manifest.model_copy(update={"objects": refs}), body.inline)
    guarded = Guarded(KEY)
    arrival = guarded(Arrival, folder, body, shared=bool(mode & _SHARED))
    if arrival is None:
        assert _overlap(body)
        return
    assert not _overlap(body)
    numbers = range(len(refs))
    for number in reversed(numbers) if backwards else numbers:
        file = _edited(genuine, number, edits[number], refs, folder)
        if file:
            network.files[folder.names.object(ANNA_EMAIL, refs[number].id)] = (file, frozenset({ANNA_EMAIL}))
        guarded(arrival.open_arrived)
        if guarded.error is not None:
            assert isinstance(guarded.error, IntegrityError | MalformedError)
            assert any(edits[: len(refs)]) or _unprotected(refs, mode, folder)
            return
    found = [_edited(genuine, number, edits[number], refs, folder) for number in numbers]
    if not arrival.complete:
        assert b"" in found
        return
    if mode & _UNHASHED and found != genuine:
        # A writer with the key can encrypt another file. Without a hash, the reader cannot detect this.
        assert all(edit % 7 in (_GENUINE, _FORGED, _OTHER) for edit in edits[: len(refs)])
        return
    assert found == genuine, "an object that is not genuine was read"
    assert arrival.buffers() == list(_expected(body))


def _plaintext(number: int, ref: ObjectRef) -> bytes:
    return hashlib.shake_128(bytes([number])).digest(ref.size)


def _sealed(ref: ObjectRef, plaintext: bytes, folder: ObjectFolder) -> bytes:
    if not folder.encryption:
        return plaintext
    key = bytes.fromhex(ref.key or _KEY)
    return b"".join(bytes(segment) for segment in segments.seal(key, [memoryview(plaintext)]))


def _announced(ref: ObjectRef, file: bytes, mode: int) -> ObjectRef:
    """Return the reference to a genuine file, changed as ``mode`` requires."""
    key = ref.key if mode & _OTHER_KEYS else "" if mode & _PLAIN else ref.key or _KEY
    digest = "" if mode & _UNHASHED else hashlib.sha256(file).hexdigest()
    return ref.model_copy(update={"key": key, "sha256": digest})


def _edited(files: list[bytes], number: int, edit: int, refs: list[ObjectRef], folder: ObjectFolder) -> bytes:
    file, kind, where = files[number], edit % 7, edit // 7
    at = where % len(file)
    if kind == _CHANGED:
        return file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
    if kind == _CUT:
        return file[:-1]
    if kind == _LONGER:
        return file + b"\x00"
    if kind == _OTHER:
        return files[where % len(files)]
    if kind == _FORGED:
        return _sealed(refs[number], bytes(refs[number].size), folder)
    return b"" if kind == _ABSENT else file


def _unprotected(refs: list[ObjectRef], mode: int, folder: ObjectFolder) -> bool:
    """Return whether a reference lacks its hash, or has a key although encryption is off, or the reverse."""
    keys = any(bool(ref.key) != folder.encryption for ref in refs)
    return keys or bool(mode & _UNHASHED)


def _overlap(body: Body) -> bool:
    spans: dict[int, list[tuple[int, int]]] = {}
    for pieces in {tuple(tuple(piece) for piece in ref.pieces) for ref in body.manifest.buffers}:
        for index, offset, length in pieces:
            spans.setdefault(index, []).append((offset, offset + length))
    return any(start < end for taken in spans.values() for (_, end), (start, _) in pairwise(sorted(taken)))


def _expected(body: Body) -> Iterator[bytes]:
    plaintexts = [_plaintext(number, ref) for number, ref in enumerate(body.manifest.objects)]
    start = 0
    for ref in body.manifest.buffers:
        if ref.pieces:
            yield b"".join(plaintexts[index][offset : offset + length] for index, offset, length in ref.pieces)
        else:
            yield body.inline[start : start + ref.size]
            start += ref.size
