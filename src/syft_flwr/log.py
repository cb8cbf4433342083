"""The logger of this package, and the console: where lines for a person go. A record is escaped before any destination gets it.

So a text of a peer is harmless also where this package does not choose the destination: in a notebook, loguru writes to the
standard error by default. The patch belongs to this logger alone. It does not change the records of other packages.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import loguru
from loguru._defaults import LOGURU_AUTOINIT

from syft_flwr.text import encodable, escaped, log_entry

if TYPE_CHECKING:
    from loguru import Message, Record


def _clean(record: "Record") -> None:
    record["message"] = log_entry(record["message"])


logger = loguru.logger.patch(_clean)

#: What takes the lines of the console; the last one gets them.
_writers: list[Callable[[str], object]] = []


@contextmanager
def console(write: Callable[[str], object]) -> Iterator[None]:
    """Give the lines of the console to ``write`` inside the block, for example to put them above a live table.

    These are the lines of this package, of Flower's console handler, and of ClientApps in workers. The prints of a ServerApp
    are not among them: they go to ``sys.stdout`` of its process.

    ``write`` gets one entry: inert text without colour codes that ends with a line break, and can have line breaks inside. Several
    threads may call it at the same time. It must not log. An entry for which it raises an OSError or a ValueError goes to the
    standard error. Blocks may be nested, and may end in any order.
    """
    # A method of an object is a new one at each access.
    taker = write
    _writers.append(taker)
    try:
        yield
    finally:
        for number, each in enumerate(_writers):
            if each is taker:
                del _writers[number]
                break


def write_console(entry: str) -> None:
    """Write an entry to the console: to the innermost :func:`console`, otherwise to the standard error. Never raises OSError."""
    text = escaped(entry).rstrip("\n") + "\n"
    for write in _writers[-1:]:
        with suppress(OSError, ValueError):
            write(text)
            return
    # Looked up for each line, because a test or a notebook replaces sys.stderr. A service may have none, or close it.
    stream = getattr(sys.stderr, "uncopied", sys.stderr)
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.write(encodable(text, getattr(stream, "encoding", None)))
            stream.flush()


class _DefaultSink:
    """Replaces the default destination of loguru, and puts it back. The replacement has the id 0, too.

    So a call of ``logger.remove(0)`` or ``logger.remove()`` works at any time, also during a run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The number of users, the replacement and the default.
        self._users = 0
        self._ours: Any = None
        self._default: Any = None

    def replace(self, sink: Callable[["Message"], None], accepts: Callable[["Record"], bool] | None = None) -> None:
        """Let ``sink`` get the lines of the default destination, unless the user has chosen destinations."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            core = loguru.logger._core  # type: ignore[attr-defined]  # noqa: SLF001 - its list of destinations is not public
            if list(core.handlers) != [0] or not LOGURU_AUTOINIT:
                return
            level = core.handlers[0].levelno
            number = loguru.logger.add(sink, level=level, format="{message}", filter=accepts, diagnose=False)
            with core.lock:
                handlers = core.handlers.copy()
                ours = handlers.pop(number)
                if 0 in handlers:
                    self._ours, self._default = ours, handlers[0]
                    handlers[0] = ours
                core.handlers = handlers

    def restore(self) -> None:
        """Put the default destination back after the last user, unless the program has removed it since."""
        with self._lock:
            self._users -= 1
            if self._users or self._ours is None:
                return
            core = loguru.logger._core  # type: ignore[attr-defined]  # noqa: SLF001 - its list of destinations is not public
            with core.lock:
                if core.handlers.get(0) is self._ours:
                    core.handlers = {**core.handlers, 0: self._default}
                    self._ours.stop()
            self._ours = self._default = None


_default_sink = _DefaultSink()


def replace_default_sink(sink: Callable[["Message"], None]) -> None:
    """Let ``sink`` replace the default destination of loguru until the end of this process."""
    _default_sink.replace(sink)


@contextmanager
def quiet_default_sink(level: str = "WARNING") -> Iterator[None]:
    """Show the lines of this package from ``level`` on inside the block, if loguru has only its default destination.

    Lines of other packages have the level of the default destination. No value of a variable is shown. Destinations of the
    user are left alone.
    """
    least = loguru.logger.level(level).no
    _default_sink.replace(_show, lambda record: record["level"].no >= least or not is_ours(record))
    try:
        yield
    finally:
        _default_sink.restore()


def is_ours(record: "Record") -> bool:
    """Return whether this package logged a record."""
    return (record["name"] or "").startswith("syft_flwr")


def _show(message: "Message") -> None:
    record = message.record
    place = "" if is_ours(record) else f"{record['name']}:{record['line']} - "
    write_console(f"{record['time']:HH:mm:ss} {record['level'].name:<8} {place}{log_entry(str(message))}")
