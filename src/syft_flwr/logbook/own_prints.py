"""Copies the prints of a ServerApp to the log files. The app prints to the streams of its process as without this package."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from syft_flwr.logbook.book import MAX_LINE, book, one_line
from syft_flwr.logbook.line import LogLine
from syft_flwr.text import complete_lines, last_shown

#: Characters of a line that has not ended yet; the rest of it is not copied.
_MAX_PENDING = 8 * MAX_LINE


@contextmanager
def copying_prints() -> Iterator[None]:
    """Copy the lines that this process prints inside the block. Code in C and child processes are not copied."""
    before = sys.stdout, sys.stderr
    copies = [_CopiedStream(stream) if stream else stream for stream in before]
    sys.stdout, sys.stderr = copies
    try:
        yield
    finally:
        # The app may have replaced them since.
        if sys.stdout is copies[0]:
            sys.stdout = before[0]
        if sys.stderr is copies[1]:
            sys.stderr = before[1]
        for copy in filter(None, copies):
            copy.end()


class _CopiedStream:
    """A stream that gives its lines to the log files, too."""

    def __init__(self, stream: TextIO) -> None:
        #: The stream itself: :func:`syft_flwr.log.write_console` prints there, because its lines are in the files already.
        self.uncopied = stream
        self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.uncopied, name)

    def write(self, text: str) -> int:
        count = self.uncopied.write(text)
        lines, rest = complete_lines(self._rest + text)
        self._rest = rest[:_MAX_PENDING]
        for line in lines:
            self._keep(line)
        return count

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Copy a last line without a line break."""
        rest, self._rest = self._rest, ""
        self._keep(rest)

    def _keep(self, line: str) -> None:
        if (shown := last_shown(line)).strip():
            book.keep(LogLine(one_line(shown), source="app"))
