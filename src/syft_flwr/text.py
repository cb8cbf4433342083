"""Text for logs and terminals: escapes characters that control or deceive, and writes counts, spans, sizes and labels.

A text of another participant must not control a terminal, forge a line of a log, or hide a part of itself. Therefore:

* A value of a peer becomes one line with :func:`printable`, where it is read.
* Each sink (log, console, error) also passes all its text through :func:`escaped`, which keeps only line breaks.
* In a log, :func:`log_entry` indents all lines after the first, so that no value looks like a further entry.
"""

import re
import signal
from itertools import pairwise
from typing import AnyStr

#: Characters without a glyph that ``str.isprintable`` accepts: fillers, a joiner, and selectors of variants.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
#: The codes that colour a text, move the cursor or set the title of a terminal.
_CODES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)")
#: The indentation of the later lines of a log entry, which is also that of a hint.
_INDENT = "  "


def message_label(message_id: str, run: int, app: str) -> str:
    """Return the label of a message in log lines."""
    return f"message {message_id} of run {run} ({app})"


#: The words for people. JSON, records and options keep the names of the roles.
_ROLES = {"server": "aggregator", "client": "data owner", "datasite": "data owner"}


def shortened(text: str, most: int) -> str:
    """Return a text with at most ``most`` characters, with ``…`` at its end if some are missing."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def role_word(role: str) -> str:
    """Return the word of every output for a role of a participant or of its process."""
    return _ROLES.get(role, role)


def is_visible(text: str) -> bool:
    """Return whether each character of ``text`` is shown as it is: a letter, digit, mark, sign or the space.

    Not so are control and format characters, line separators, other spaces, lone surrogates, private and unassigned
    characters, and characters without a glyph.
    """
    return text.isprintable() and (text.isascii() or _BLANK.search(text) is None)


def printable(text: str, most: int | None = None) -> str:
    """Return ``text`` as one line: line breaks and other white space as spaces, other invisible characters escaped.

    ``most`` is the limit of its length, also with the escapes.
    """
    text = text[:most]
    if is_visible(text):
        return text
    return "".join(" " if character.isspace() else _shown(character) for character in text)[:most]


def escaped(text: str) -> str:
    """Return ``text`` with its line breaks, and with all other invisible characters escaped."""
    if is_visible(text):
        return text
    return "".join(character if character == "\n" else _shown(character) for character in text)


def without_codes(text: str) -> str:
    """Return ``text`` without complete codes for colours and for titles. Others stay, and :func:`escaped` shows them."""
    return _CODES.sub("", text) if "\x1b" in text else text


def complete_lines(printed: AnyStr) -> tuple[list[AnyStr], AnyStr]:
    """Return the lines of a print without their line breaks, and the rest, which has no line break yet.

    Of a progress bar, which begins its line again and again, the rest is the last text.
    """
    line_break, line_begin = (b"\n", b"\r") if isinstance(printed, bytes) else ("\n", "\r")
    lines = printed.split(line_break)
    rest = lines.pop()
    # A return at the very end may belong to a line break.
    return lines, rest[rest.rfind(line_begin, 0, max(0, len(rest) - 1)) + 1 :]


def last_shown(line: AnyStr) -> AnyStr:
    """Return the part of a printed line that a terminal shows at its end: a progress bar begins its line again and again."""
    line_begin = b"\r" if isinstance(line, bytes) else "\r"
    return line.rstrip(line_begin).rpartition(line_begin)[2]


def log_entry(text: str) -> str:
    """Return ``text`` as one entry of a log: escaped, with all lines after the first one indented."""
    first, *others = escaped(text).rstrip("\n").split("\n")
    indent = "" if all(line.startswith(_INDENT) or not line for line in others) else _INDENT
    return "\n".join([first, *(f"{indent}{line}" for line in others)])


def encodable(text: str, encoding: str | None) -> str:
    """Return ``text`` with an escape for each character that ``encoding`` cannot write; None stands for UTF-8."""
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: ``1 path``, ``2 paths``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a time span with its two largest units: ``0s``, ``45s``, ``2m 5s``, ``3h 0m``, ``2d 4h``."""
    whole = max(0, int(seconds))
    for (large, in_large), (small, in_small) in pairwise((("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))):
        if whole >= in_large:
            return f"{whole // in_large}{large} {whole % in_large // in_small}{small}"
    return f"{whole}s"


def size(number: int) -> str:
    """Return a number of bytes with at most 3 digits before its decimal unit: ``0 B``, ``12 KB``, ``1.5 MB``."""
    scaled, units = float(number), iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while scaled >= 999.5 and unit != "TB":
        scaled, unit = scaled / 1000, next(units)
    return f"{scaled:.0f} {unit}" if unit == "B" or scaled >= 9.95 else f"{scaled:.1f} {unit}"


def signal_name(number: int) -> str:
    """Return the name of a signal; its number if it has none, as most real-time signals."""
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, str(number))


def _shown(character: str) -> str:
    """Return a character, or its escape if it is not visible."""
    if is_visible(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
