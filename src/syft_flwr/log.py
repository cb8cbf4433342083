"""The logger of this package, and the console: where lines for a person go. A record is escaped before any destination gets it.

So a text of a peer is harmless also where this package does not choose the destination: in a notebook, loguru writes to the
standard error by default. The patch belongs to this logger alone. It does not change the records of other packages.
"""

import math
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
        #: The number of runs, the replacement and the default.
        self._users = 0
        self._ours: Any = None
        self._default: Any = None
        #: Whether the process is one of this package, so that nothing is put back.
        self._is_final = False

    def replace(self, sink: Callable[["Message"], None], accepts: Callable[["Record"], bool]) -> None:
        """Let ``sink`` get the accepted lines of the default destination, unless the user has chosen destinations."""
        with self._lock:
            self._users += 1
            if self._users == 1 and not self._is_final and _has_default_only():
                self._ours, self._default = _swap(sink, _core().handlers[0].levelno, accepts)

    def restore(self) -> None:
        """Put the default destination back after the last run, unless the program has removed it since."""
        with self._lock:
            self._users -= 1
            if self._users or self._ours is None:
                return
            core = _core()
            with core.lock:
                if core.handlers.get(0) is self._ours:
                    core.handlers = {**core.handlers, 0: self._default}
                    core.min_level = min(each.levelno for each in core.handlers.values())
                    self._ours.stop()
            self._ours = self._default = None

    def set(self, sink: Callable[["Message"], None], level: int | str) -> None:
        """Let ``sink`` get all lines from now on, in place of other destinations."""
        with self._lock:
            self._is_final = True
            if _has_default_only():
                _swap(sink, level)
            else:
                loguru.logger.remove()
                loguru.logger.add(sink, level=level, format="{message}", diagnose=False)


def _core() -> Any:
    return loguru.logger._core  # type: ignore[attr-defined]  # noqa: SLF001 - the destinations are not public


def _has_default_only() -> bool:
    """Return whether loguru has one destination, its default one, which has the id 0."""
    return list(_core().handlers) == [0] and LOGURU_AUTOINIT


def _swap(
    sink: Callable[["Message"], None], level: int | str, accepts: Callable[["Record"], bool] | None = None
) -> tuple[Any, Any]:
    """Put ``sink`` into the place of the default destination; return both."""
    core = _core()
    number = loguru.logger.add(sink, level=level, format="{message}", filter=accepts, diagnose=False)
    with core.lock:
        handlers = core.handlers.copy()
        ours, default = handlers.pop(number), handlers.get(0)
        if default is not None:
            handlers[0] = ours
        core.handlers = handlers
        core.min_level = min((each.levelno for each in handlers.values()), default=math.inf)
    return ours, default


_default_sink = _DefaultSink()


def set_sink(sink: Callable[["Message"], None], level: int | str) -> None:
    """Let ``sink`` get all lines of this process from now on, which this package started."""
    _default_sink.set(sink, level)


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
