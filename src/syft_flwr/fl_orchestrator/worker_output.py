"""The output of a worker: a pipe that the client empties, and that gives each line to the log of the client.

An app that prints without an end, or without a line break, neither waits for the client nor fills its memory or its disk.
"""

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from pydantic import ValidationError

from syft_flwr.fl_orchestrator.worker_log import MARKED, prefix
from syft_flwr.logbook.allowance import Allowance
from syft_flwr.logbook.book import MAX_LINE, book
from syft_flwr.text import complete_lines, last_shown

#: Bytes of one read, and of a line that has not ended yet; the rest of that line is dropped.
_CHUNK, _MAX_PENDING = 1 << 16, 1 << 18
#: Characters that wait to be written. Each line counts as some more, so that short lines are bounded, too.
_MAX_WAITING, _LINE_COST = 4_000_000, 400
#: Seconds between two lines about lines that were left out.
_TELL = 30.0
#: Seconds for the end: to read the rest of the pipe, and to write it.
_PATIENCE = 2.0


class WorkerOutput:
    """The standard output and error of one worker.

    Args:
        app: the name of the app, for the log.
        mark: the mark of the lines that the worker logs.
    """

    def __init__(self, app: str, mark: str) -> None:
        self._app = app
        self._prefix = prefix(mark)
        self._reader, self._writer = os.pipe()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._reader, False)
        self._rest = b""
        # Marked lines have an allowance of their own.
        self._of_prints, self._of_marked = Allowance(), Allowance()
        self._left_out, self._told = 0, 0.0
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._size = 0
        #: Whether a thread has bytes or a line in its hands.
        self._reads = self._writes = False
        self._ended = self._closing = False
        self._threads = [
            threading.Thread(target=target, name=f"worker-output-{name}", daemon=True)
            for name, target in (("read", self._read), ("write", self._write))
        ]

    @property
    def descriptor(self) -> int:
        """Return the end of the pipe for the worker."""
        return self._writer

    def start(self) -> None:
        """Begin to read, after the worker was started."""
        os.close(self._writer)
        for thread in self._threads:
            thread.start()

    def discard(self) -> None:
        """Close the pipe of a worker that could not be started."""
        for number in (self._reader, self._writer, self._woken, self._waker):
            os.close(number)

    def settle(self, seconds: float) -> None:
        """Wait until all that was printed so far is in the log, at most for ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (self._reads or self._writes or self._waiting or self._is_readable()) and time.monotonic() < deadline:
                self._changed.wait(0.005)

    def close(self) -> None:
        """Take the rest of the pipe, and end, although a process of the app may keep the pipe open."""
        if not self._closing:
            self._closing = True
            os.close(self._waker)
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _is_readable(self) -> bool:
        if self._ended:
            return False
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        return any(event & select.POLLIN for _, event in waiting.poll(0))

    def _read(self) -> None:
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        waiting.register(self._woken, select.POLLIN)
        deadline = 0.0
        is_open = True
        while is_open:
            must_end = self._woken in {number for number, _ in waiting.poll()}
            if must_end and not deadline:
                deadline = time.monotonic() + _PATIENCE / 2
            with self._changed:
                self._reads = True
            data = self._take()
            if data:
                self._feed(data)
            with self._changed:
                self._reads = False
                self._changed.notify_all()
            is_open = data != b"" and not (must_end and (data is None or time.monotonic() > deadline))
        self._end()

    def _take(self) -> bytes | None:
        """Return the next bytes; None if there are none now, and empty bytes if all processes closed the pipe."""
        try:
            return os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _end(self) -> None:
        if self._rest:
            self._line(self._rest)
        self._tell(now=True)
        with self._changed:
            self._ended = True
            os.close(self._reader)
            os.close(self._woken)
            self._changed.notify_all()

    def _feed(self, data: bytes) -> None:
        lines, rest = complete_lines(self._rest + data)
        self._rest = rest[:_MAX_PENDING]
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        printed, marked, entry = line.partition(self._prefix)
        if marked:
            try:
                level, source, message = MARKED.validate_json(entry)
            except ValidationError:
                # Another thread of the app printed in the middle of it.
                printed = line
            else:
                self._put(len(message), lambda: book.relayed(level, source, message, self._app), self._of_marked)
        if not printed or printed.isspace():
            return
        last = last_shown(printed)[: 8 * MAX_LINE]
        self._put(len(last), lambda: book.printed(last.decode(errors="backslashreplace"), self._app), self._of_prints)

    def _put(self, size: int, give: Callable[[], object], allowance: Allowance) -> None:
        size += _LINE_COST
        if not allowance.take() or self._size + size > _MAX_WAITING:
            self._left_out += 1
            return
        self._tell(now=False)
        self._queue(size, give)

    def _queue(self, size: int, give: Callable[[], object]) -> None:
        with self._changed:
            self._waiting.append((size, give))
            self._size += size
            self._changed.notify_all()

    def _tell(self, *, now: bool) -> None:
        """Log the number of lines that were left out, at most every half minute, and at the end."""
        if self._left_out and (now or time.monotonic() > self._told + _TELL):
            count, self._left_out, self._told = self._left_out, 0, time.monotonic()
            text = f"the ClientApp printed more than the log takes: {count:,} lines are left out; let it print less"
            self._queue(len(text), lambda: book.relayed("WARNING", "ours", text, self._app))

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                size, give = self._waiting.popleft()
                self._size -= size
                self._writes = True
            # A console that fails must not end this thread, which would fill the memory.
            with contextlib.suppress(OSError, ValueError):
                give()
            with self._changed:
                self._writes = False
                self._changed.notify_all()
