"""The connection of one client to the server, with its queues, limits and losses.

Rules, as in ``events_socket.go``, ``events.go``, ``ws_client.go`` and ``ws_hub.go``:

* The sender's queue has 8 places. A frame must be written within 5 s at the rate of the uplink; otherwise the
  connection closes, and the frames in its queue are gone.
* A frame above 4 MiB closes the connection too.
* The server's queue for a receiver has 8 places, and the receiver has 24. Pushes that find no place are dropped.
* Nothing is acknowledged and nothing is sent again.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from syft_flwr.emulators.syftbox.faithful.frames import MAX_FRAME, QUEUE, RATE, RECEIVER_QUEUE, Frame
from syft_flwr.emulators.syftbox.faithful.lives import Life, LifeEndedError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.uplink import TooSlowError, Uplink
from syft_flwr.emulators.syftbox.faithful.windows import Window


class QueueFullError(Exception):
    """The sender's queue has no place for this frame."""


class Websocket:
    """One connection. It ends by :meth:`close`, by a frame that is too long or too slow, or when the link breaks.

    Args:
        email: the client.
        to_server: gives the server a frame that was written.
        to_client: gives the client a frame that it received; each call has a thread of its own.
    """

    def __init__(
        self,
        email: str,
        machinery: Machinery,
        *,
        uplink: Uplink,
        to_server: Callable[[Frame, "Websocket"], None],
        to_client: Callable[[Frame], None],
    ) -> None:
        self.email = email
        self.life = Life()
        self._waits = machinery.waits
        self._now = machinery.now
        self._windows = machinery.windows
        self._durations = machinery.durations
        self._link = machinery.link
        self._uplink = uplink
        self._to_server = to_server
        self._to_client = to_client
        self._sending: deque[Frame] = deque()
        self._delivering: deque[Frame] = deque()
        self._received: deque[Frame] = deque()
        # The works that have left a queue and have not ended.
        self._busy = 0
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        for work in (self._send, self._deliver, self._receive):
            self._spawn(work)

    def close(self) -> None:
        self._waits.end(self.life)

    def join(self) -> None:
        """Wait until no work of a closed connection runs."""
        for thread in list(self._threads):
            thread.join()

    def is_idle(self) -> bool:
        with self._waits.changed:
            return self.life.ended or not (self._sending or self._delivering or self._received or self._busy)

    def push(self, frame: Frame) -> None:
        """Queue a frame of the client.

        Raises:
            LifeEndedError: the connection is closed.
            QueueFullError: all places of the queue are taken.
        """
        with self._waits.changed:
            self.life.check()
            if len(self._sending) >= QUEUE:
                raise QueueFullError
            self._sending.append(frame)
            self._waits.changed.notify_all()

    def deliver(self, frame: Frame) -> bool:
        """Queue a frame of the server for the client; return False if all places are taken."""
        return self._enqueue(self._delivering, frame, QUEUE)

    def _enqueue(self, queue: deque[Frame], frame: Frame, places: int) -> bool:
        with self._waits.changed:
            if len(queue) >= places:
                return False
            queue.append(frame)
            self._waits.changed.notify_all()
            return True

    def _send(self) -> None:
        while True:
            with self._next(self._sending) as frame:
                self._windows.stand(self.email, Window.FRAME, frame.name, self.life)
                self._write(frame)

    def _write(self, frame: Frame) -> None:
        encoded_at = self._now() + frame.size / RATE
        try:
            self._uplink.send(min(frame.size, MAX_FRAME), self._durations.frame, self.life)
            self._waits.until(self.life, due=encoded_at)
        except TooSlowError:
            self.close()
        if frame.size > MAX_FRAME or not self._link.is_online(self.email):
            self.close()
        self.life.check()
        if not self._link.drops(frame.name):
            self._to_server(frame, self)

    def _deliver(self) -> None:
        while True:
            with self._next(self._delivering) as frame:
                self._windows.stand(self.email, Window.DELIVERY, frame.name, self.life)
                if not self._link.is_online(self.email):
                    self.close()
                self.life.check()
                self._enqueue(self._received, frame, RECEIVER_QUEUE)

    def _receive(self) -> None:
        while True:
            with self._next(self._received) as frame:
                self._windows.stand(self.email, Window.RECEIPT, frame.name, self.life)
                with self._waits.changed:
                    self._busy += 1
                self._spawn(partial(self._handle, frame))

    def _handle(self, frame: Frame) -> None:
        try:
            self._waits.pause(self._link.delay_of(frame.name), self.life)
            self._to_client(frame)
        finally:
            self._end_work()

    @contextlib.contextmanager
    def _next(self, queue: deque[Frame]) -> Iterator[Frame]:
        """Wait for the first frame of a queue, and take it out."""
        with self._waits.changed:
            self._waits.until(self.life, ready=lambda: queue)
            frame = queue.popleft()
            self._busy += 1
        try:
            yield frame
        finally:
            self._end_work()

    def _end_work(self) -> None:
        with self._waits.changed:
            self._busy -= 1
            self._waits.changed.notify_all()

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._work, args=(work,), name=f"syftbox socket {self.email}", daemon=True)
        # Another thread can join them at any moment, so only started threads are in the list.
        thread.start()
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]

    def _work(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(LifeEndedError):
            work()
