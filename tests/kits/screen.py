"""A terminal for a test: a pseudoterminal, and the screen that a person would see in it."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator
from typing import TextIO

_PARTS = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|([\r\n])|([^\x1b\r\n]+)|(.)", re.S)


class Screen:
    """Reads all that a program writes to a terminal.

    Args:
        columns: its width.
        lines: its height.
        reads: read the output of the program; otherwise the terminal blocks as soon as it is full.
    """

    def __init__(self, columns: int = 80, lines: int = 24, *, reads: bool = True) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.stream: TextIO = os.fdopen(theirs, "w", encoding="utf-8", newline="\n")
        self._columns = columns
        self._raw = b""
        self._reader = threading.Thread(target=self._read if reads else list, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(self._ours, 65_536):
                self._raw += part

    @property
    def raw(self) -> str:
        """Return all that was written so far."""
        return self._raw.decode()

    def rows(self) -> list[str]:
        """Return the lines of the screen and of all that was scrolled out, without empty ones at the end."""
        rows, at, column = [""], 0, 0
        for numbers, code, move, text, _ in _PARTS.findall(self.raw):
            if move == "\n":
                at += 1
                rows += [""] * (at + 1 - len(rows))
            elif move == "\r":
                column = 0
            elif code == "A":
                at = max(0, at - int(numbers or 1))
            elif code == "K":
                rows[at] = "" if numbers == "2" else rows[at][:column]
            for character in text:
                if column == self._columns:
                    at, column = at + 1, 0
                    rows += [""] * (at + 1 - len(rows))
                rows[at] = rows[at][:column].ljust(column) + character + rows[at][column + 1 :]
                column += 1
        return [row.rstrip() for row in rows[: max((n for n, row in enumerate(rows, 1) if row.strip()), default=0)]]

    def break_off(self) -> None:
        """Close the terminal that is not read, as a person who closes its window."""
        os.close(self._ours)

    def close(self) -> None:
        """Close both ends."""
        with contextlib.suppress(OSError):
            self.stream.close()
        self._reader.join(10)
        with contextlib.suppress(OSError):
            os.close(self._ours)


@contextlib.contextmanager
def opened_screen(columns: int = 80, lines: int = 24, *, reads: bool = True) -> Iterator[Screen]:
    """Yield a terminal, and close it."""
    screen = Screen(columns, lines, reads=reads)
    try:
        yield screen
    finally:
        screen.close()
