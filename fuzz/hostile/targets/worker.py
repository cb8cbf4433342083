"""Fuzz ``Frames`` with the output of a worker: its greeting, and the frames after it. An app may write there, too."""

import contextlib
import os
import struct
from collections.abc import Iterator

from syft_flwr.fl_orchestrator.worker_frames import FrameError, Frames, Greeting, UngreetedError

#: The bytes that a pipe holds without a reader.
_ROOM = 60_000
_LIMIT = 4_096


def seeds() -> Iterator[bytes]:
    greeting = Greeting.own().encode()
    yield greeting
    yield greeting + struct.pack(">Q", 5) + b"hello" + struct.pack(">Q", 0)
    yield greeting + struct.pack(">Q", _LIMIT + 1) + bytes(100)
    yield greeting + struct.pack(">Q", (1 << 64) - 1)
    yield b"Traceback (most recent call last):\n" + greeting
    yield b"a" * 1_000
    yield b"syft-flwr-worker \xff \x1b[31m\n"


def check(data: bytes) -> None:
    """Check that a greeting has two words, and that each frame is within the limit."""
    source, sink = os.pipe()
    try:
        os.write(sink, data[:_ROOM])
        os.close(sink)
        frames = Frames(source, -1)
        with contextlib.suppress(EOFError, FrameError, UngreetedError):
            greeting = frames.receive_greeting()
            assert len(f"{greeting.release} {greeting.python}".split()) == 2
            while True:
                assert len(frames.receive(_LIMIT)) <= _LIMIT
    finally:
        os.close(source)
