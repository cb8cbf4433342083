"""Reads large replies in a few threads, so that none of them delays heartbeats and the replies of others.

A thread works on one reply at a time, and a data owner has one reply in work. All replies in work have a limited number
of bytes together; a larger one is read alone. A thread ends when no reply waits.
"""

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable

from syft_flwr._messaging.asking.pending import Pending
from syft_flwr._messaging.threads import reader_threads
from syft_flwr.log import logger

_THREADS = 4
#: Seconds to wait for the ends of all threads together.
_PATIENCE = 0.2
#: Bytes of the replies in work.
_MAX_BYTES = 256 << 20


class ReplyReaders:
    """The threads that read large replies. Thread-safe.

    Args:
        read: reads the reply to a request as far as it has arrived.
        name: the beginning of the names of the threads.
    """

    def __init__(self, read: Callable[[Pending], None], name: str) -> None:
        self._read = read
        self._name = name
        self._changed = threading.Condition()
        #: The replies to read, by request id, with their bytes.
        self._queue: OrderedDict[str, tuple[Pending, int]] = OrderedDict()
        #: By data owner, the request id and the bytes of its reply in work.
        self._in_work: dict[str, tuple[str, int]] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False

    def offer(self, pending: Pending, size: int) -> None:
        """Read the reply to a request soon. ``size`` is the number of its bytes."""
        with self._changed:
            if self._closed:
                return
            # A reply that waits keeps its place; its number of bytes may be known now.
            self._queue[pending.id] = (pending, size)
            if len(self._threads) < min(reader_threads(_THREADS), len(self._queue) + len(self._in_work)):
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._threads.append(thread)
            self._changed.notify()

    def works_on(self, pending: Pending) -> bool:
        """Return whether a thread reads the reply to this request, or will read it."""
        with self._changed:
            return pending.id in self._queue or self._in_work.get(pending.asked.recipient, ("", 0))[0] == pending.id

    def close(self) -> None:
        """Forget the replies that wait, and end the threads after those in work. A busy thread is not awaited."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = time.monotonic() + _PATIENCE
        for thread in threads:
            # A reply can take long to read, and a transport can hang. Such a thread ends later, or with the process.
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._changed:
                while (taken := self._take()) is None:
                    if not self._queue:
                        self._threads.remove(threading.current_thread())
                        return
                    self._changed.wait()
            try:
                self._read(taken)
            except Exception:  # noqa: BLE001 - the outermost loop of this thread
                if self._closed:
                    # The databases are closed, because this reading did not end in time.
                    return
                # Not logger.exception: loguru can print the values of variables, and some of them are keys.
                text = "{}: the reading of a reply met an error, and is tried again; report this as a bug\n{}"
                logger.error(text, self._name, traceback.format_exc())
            with self._changed:
                del self._in_work[taken.asked.recipient]
                self._changed.notify_all()

    def _take(self) -> Pending | None:
        """Remove and return the first reply that may be read now; None if there is none."""
        used = sum(size for _, size in self._in_work.values())
        for message_id, (pending, size) in self._queue.items():
            if pending.asked.recipient in self._in_work:
                continue
            if self._in_work and used + size > _MAX_BYTES:
                # No later reply overtakes it, so that it is read when those in work are.
                return None
            del self._queue[message_id]
            self._in_work[pending.asked.recipient] = message_id, size
            return pending
        return None
