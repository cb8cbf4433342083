"""The logger of this package, and the console: where lines for a person go. A record is escaped before any destination gets it.

So a text of a peer is harmless also where this package does not choose the destination: in a notebook, loguru writes to the
standard error by default. The patch belongs to this logger alone. It does not change the records of other packages.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import loguru

from syft_flwr.text import encodable, escaped, log_entry

if TYPE_CHECKING:
    from loguru import Record


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
    stream = sys.stderr
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.write(encodable(text, getattr(stream, "encoding", None)))
            stream.flush()
