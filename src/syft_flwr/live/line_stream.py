"""A stream that takes the place of standard output or standard error, and gives whole lines to a display."""

import io
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from syft_flwr.text import complete_lines, last_shown

#: Characters of a line without an end; a longer one is given on in parts.
_MOST = 65_536


class LineStream(io.TextIOBase):
    """Takes the place of a stream of this process inside the ``with`` block. Thread-safe.

    A progress bar that returns to the begin of its line is shown once, with its last text.

    Args:
        owner: the object with the stream: :mod:`sys`, or a stream that copies to the log and prints through another one.
        name: the attribute that is the stream. All other attributes of this object are those of that stream.
        take: gets each line without its end. If it returns False, the line goes to ``stream``.
    """

    def __init__(self, owner: object, name: str, take: Callable[[str], bool]) -> None:
        super().__init__()
        self._owner = owner
        self._name = name
        self._stream: TextIO = getattr(owner, name)
        self._take = take
        self._rest = ""
        # A signal handler or a finalizer of the app can print in the middle of a print.
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __enter__(self) -> Self:
        setattr(self._owner, self._name, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The program may have put another stream there.
        if getattr(self._owner, self._name) is self:
            setattr(self._owner, self._name, self._stream)
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self._give(rest)

    def write(self, text: str) -> int:
        """Give each complete line of the text to the display."""
        if self._is_in_child():
            return self._write_in_child(text)
        with self._lock:
            lines, self._rest = complete_lines(self._rest + text)
            if len(self._rest) > _MOST:
                lines.append(self._rest)
                self._rest = ""
        for line in lines:
            self._give(line)
        return len(text)

    def _is_in_child(self) -> bool:
        """Return whether this is a forked child, where a thread that only its parent has may hold any lock."""
        return os.getpid() != self._process

    def _write_in_child(self, text: str) -> int:
        """Write past the buffer of the stream, because the display may hold its lock while the app forks."""
        try:
            fd = self._stream.fileno()
        except (OSError, ValueError):
            return self._stream.write(text)
        rest = text.encode(self.encoding or "utf-8", "backslashreplace")
        while rest:
            rest = rest[os.write(fd, rest) :]
        return len(text)

    def _give(self, line: str) -> None:
        if not self._take(last_shown(line)):
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        """Flush the replaced stream. A line without an end waits for its end. A forked child has no buffer."""
        if not self._is_in_child() and not self._stream.closed:
            self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return True: colours are shown."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the replaced stream."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the encoding of the replaced stream."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """Return the error handler of the replaced stream."""
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
