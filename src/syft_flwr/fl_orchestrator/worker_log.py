"""The log of a worker: it marks its lines, so that the client can tell them from prints of the app.

A marked line is a control character, a mark of the client that only the worker knows, and JSON. So a text of a peer that
the app prints cannot look like a line of this package.
"""

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from syft_flwr.fl_orchestrator.client_link import FIRST_NUMBER
from syft_flwr.flower import log_through
from syft_flwr.log import is_ours, set_sink
from syft_flwr.logbook.line import Source

if TYPE_CHECKING:
    from loguru import Message

#: The form of a marked line: level, source and message.
MARKED: TypeAdapter[tuple[str, Source, str]] = TypeAdapter(tuple[str, Source, str])
#: Characters of a message. A traceback of an app can be long.
_MAX_MESSAGE = 30_000


def prefix(mark: str) -> bytes:
    """Return the beginning of each marked line."""
    return f"\x1e{mark} ".encode()


class WorkerLog:
    """Writes marked lines to the standard error of this process, although the app may close it. Thread-safe."""

    def __init__(self) -> None:
        self._number = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, FIRST_NUMBER)
        self._stream = os.fstat(self._number)
        # A signal handler of the app can log in the middle of a line.
        self._lock = threading.RLock()
        self._prefix = b""
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        # The thread that holds it may not exist in a forked child of the app.
        self._lock = threading.RLock()

    def start(self, mark: str) -> None:
        """Mark the lines from now on, also those of Flower's logger and of loguru's default destination."""
        self._prefix = prefix(mark)
        log_through(lambda level, message: self.write(level, "flower", message))
        set_sink(self._of_loguru, os.environ.get("LOGURU_LEVEL", "DEBUG"))

    def tell(self, text: str) -> None:
        """Write an error of this package."""
        self.write("ERROR", "ours", text)

    def write(self, level: str, source: Source, message: str) -> None:
        if len(message) > _MAX_MESSAGE:
            message = f"{message[: _MAX_MESSAGE // 3]}\n[…]\n{message[-2 * _MAX_MESSAGE // 3 :]}"
        safe = message.encode(errors="backslashreplace").decode()
        line = self._prefix + MARKED.dump_json((level, source, safe)) + b"\n"
        # An app that closes all files may have opened another one with this number. It then has no log.
        with self._lock, contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._number), self._stream):
                while line:
                    line = line[os.write(self._number, line) :]

    def _of_loguru(self, message: "Message") -> None:
        record = message.record
        self.write(record["level"].name, "ours" if is_ours(record) else "app", str(message))
