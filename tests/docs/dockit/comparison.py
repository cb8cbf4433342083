"""Compares the output on a page with the real one. ``…`` stands for any text in a line, a line of ``…`` for any lines."""

import re

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_ANY = "…"


def plain(output: str) -> str:
    """Return an output without colours, and with the last state of each line that was written several times."""
    lines = _ESCAPES.sub("", output).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r")[2].rstrip() for line in lines)


def missing_line(expected: str, output: str) -> str | None:
    """Return the first line of ``expected`` that the output does not have after the lines before it, or None."""
    lines = iter(plain(output).splitlines())
    for line in expected.splitlines():
        if not (wanted := line.rstrip()).strip() or wanted.strip() == _ANY:
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split(_ANY)))
        if not any(pattern.fullmatch(found) for found in lines):
            return wanted
    return None
