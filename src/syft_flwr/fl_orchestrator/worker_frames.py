"""Frames between a client and its worker, over the standard input and output of the worker.

A frame is its length in 8 bytes (big-endian) and then its bytes. The frame ``leave`` in the place of a task asks the worker to leave.
Before its first frame, the worker writes a greeting: one line with its releases of this package and of Python. All
releases of this package keep the form of the greeting.
"""

import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from syft_flwr.software import __version__

#: The frame that asks a worker to leave, in the place of a task.
LEAVE = b"leave"

_SIZE = struct.Struct(">Q")
_GREETING = b"syft-flwr-worker "
#: The most bytes of a greeting. Other text of a worker command is cut to this length.
_MAX_GREETING = 200
#: The most bytes that one call reads.
_CHUNK = 1 << 20


class FrameError(Exception):
    """A frame is larger than its reader allows."""


class UngreetedError(Exception):
    """A process wrote other text than a greeting; ``written`` is its beginning."""

    def __init__(self, written: bytes) -> None:
        super().__init__("no greeting")
        self.written = written


@dataclass(frozen=True, slots=True)
class Greeting:
    """The releases of this package and of Python in a process; of Python without its last number."""

    release: str
    python: str

    @classmethod
    def own(cls) -> "Greeting":
        return cls(__version__, ".".join(platform.python_version_tuple()[:2]))

    def encode(self) -> bytes:
        return _GREETING + f"{self.release} {self.python}\n".encode()

    @classmethod
    def decode(cls, line: bytes) -> "Greeting":
        """Return the greeting in a line; UngreetedError if it is other text."""
        words = line.removeprefix(_GREETING).decode("ascii", "replace").split()
        if not line.startswith(_GREETING) or len(words) != 2:
            raise UngreetedError(line)
        return cls(*words)


class Frames:
    """Reads frames from one file descriptor and writes frames to another. Blocks; one reader and one writer at a time."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink

    def send(self, *frames: bytes) -> None:
        """Write complete frames; OSError if the other side has gone."""
        for frame in frames:
            self.send_parts(len(frame), [frame])

    def send_parts(self, size: int, parts: Iterable[bytes]) -> None:
        """Write one frame of ``size`` bytes, which ``parts`` yields."""
        self._write(_SIZE.pack(size))
        for part in parts:
            self._write(part)

    def receive(self, limit: int) -> bytes:
        """Return the next frame.

        Raises:
            EOFError: the other side has gone.
            FrameError: its frame is larger than ``limit``.
        """
        (size,) = _SIZE.unpack(self._read(_SIZE.size))
        if size > limit:
            raise FrameError(f"a frame of {size} bytes; at most {limit} are accepted")
        return self._read(size)

    def greet(self) -> None:
        """Write the greeting of this process."""
        self._write(Greeting.own().encode())

    def receive_greeting(self) -> Greeting:
        """Return the greeting of the worker.

        Raises:
            EOFError: the process ended without a word.
            UngreetedError: it wrote other text.
        """
        line = b""
        # One byte at a time: the bytes behind the greeting are frames.
        while not line.endswith(b"\n") and len(line) < _MAX_GREETING:
            if not (byte := os.read(self._source, 1)):
                break
            line += byte
        if not line:
            raise EOFError
        return Greeting.decode(line)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = os.read(self._source, min(size - len(data), _CHUNK))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._sink, view) :]
