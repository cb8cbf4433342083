"""The worker's side of the connection to its client: takes the standard streams away from the app, and ends with the client.

The frames get private copies of the standard input and output, before the app is imported. From then on the app's input is
empty, and its output goes to the standard error, which is a pipe of the client. So an app that prints, reads, or closes its streams does no harm.
"""

import contextlib
import errno
import fcntl
import os
import queue
import signal
import sys
import threading

from syft_flwr.fl_orchestrator.worker_family import MARK, end_members
from syft_flwr.fl_orchestrator.worker_frames import LEAVE, Frames

#: The private copies get numbers from here on: apps that close all files below some number are common.
FIRST_NUMBER = 200
#: The client is trusted, and a frame with a pickled app has no limit.
_ANY_SIZE = 1 << 62


class ClientLink:
    """The frames of the client. Takes the standard streams of this process.

    When the input ends without a request to leave, the client was killed. Then this process and its family end at once,
    also in the middle of a message.
    """

    def __init__(self) -> None:
        source, sink = _take_standard_streams()
        self._frames = Frames(source, sink)
        self._sink, self._client = sink, os.fstat(sink)
        self._received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        os.register_at_fork(after_in_child=lambda: _close(source, sink))
        self._frames.greet()
        threading.Thread(target=self._read, name="worker-input", daemon=True).start()

    def receive(self) -> bytes:
        """Return the next frame."""
        return self._received.get()

    def receive_task(self) -> bytes | None:
        """Return the next frame, which is a task; None if the client asks this process to leave."""
        frame = self.receive()
        return None if frame == LEAVE else frame

    def send(self, *frames: bytes) -> None:
        """Write frames to the client; OSError if the app closed the connection."""
        # An app that closes all files may have opened another one with this number. The client would wait without an end.
        if not os.path.samestat(os.fstat(self._sink), self._client):
            raise OSError(errno.EBADF, "the app closed the connection to the client")
        self._frames.send(*frames)

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._received.put(self._frames.receive(_ANY_SIZE))
        _end_with_family()


def _take_standard_streams() -> tuple[int, int]:
    """Return private copies of the standard input and output, and give the app others in their place."""
    source, sink = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_NUMBER) for number in (0, 1))
    empty = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(2)
    except OSError:
        # A service may start without a standard error.
        os.dup2(empty, 2)
    os.dup2(empty, 0)
    os.dup2(2, 1)
    os.close(empty)
    for stream in (sys.stdout, sys.stderr):
        # Lines appear at once, so that a crash loses none.
        if stream is not None:
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return source, sink


def _close(*numbers: int) -> None:
    """Close the private copies in a forked child, which must neither read nor write frames, nor keep them open."""
    for number in numbers:
        with contextlib.suppress(OSError):
            os.close(number)


def _end_with_family() -> None:
    if mark := os.environ.get(MARK):
        end_members(mark)
    # This process leads its group, or shares it with a command that started it.
    os.killpg(0, signal.SIGKILL)
    # The first process of a container cannot kill itself.
    os._exit(128 + signal.SIGKILL)
