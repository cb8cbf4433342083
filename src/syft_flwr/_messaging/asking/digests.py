"""Digests of requests: equal buffers have an equal digest in any process, so a resumed run finds its requests."""

import hashlib
import struct
import threading
from collections.abc import Sequence

from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.limits import INLINE_BUFFER

#: A buffer is hashed in chunks of this size, on all cores; part of the definition of the digest.
_CHUNK = 16 << 20
_LENGTH = struct.Struct(">Q")


class Digests:
    """Digests of messages, each large buffer hashed once for all addressees of a round. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By identity, of the buffers of the latest message; they are held, so that no other can take their identity.
        self._known: dict[int, tuple[bytes, bytes]] = {}

    def digest(self, buffers: Sequence[bytes]) -> str:
        """Return the digest of a message in hexadecimal: the SHA-256 over the digests of its buffers.

        That of a buffer is the SHA-256 over its length, in 8 bytes, and the SHA-256 of each of its chunks.
        """
        with self._lock:
            known, self._known = self._known, {}
            digest = hashlib.sha256()
            for buffer in buffers:
                if len(buffer) <= INLINE_BUFFER:
                    digest.update(_join([hashlib.sha256(buffer).digest()], len(buffer)))
                    continue
                found = known.get(id(buffer)) or (buffer, _digest_of(buffer))
                self._known[id(buffer)] = found
                digest.update(found[1])
            return digest.hexdigest()

    def forget(self) -> None:
        """Hold no buffer any longer."""
        with self._lock:
            self._known = {}


def _digest_of(buffer: bytes) -> bytes:
    chunks = [memoryview(buffer)[start : start + _CHUNK] for start in range(0, len(buffer), _CHUNK)]
    digests = on_all_cores(lambda chunk: hashlib.sha256(chunk).digest(), chunks)
    return _join(digests, len(buffer))


def _join(digests: Sequence[bytes], size: int) -> bytes:
    return hashlib.sha256(_LENGTH.pack(size) + b"".join(digests)).digest()
