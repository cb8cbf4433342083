"""Parse ``multipart`` bodies with line ends in LF or CRLF; the bytes of each part stay unchanged.

The parser of the standard library decodes text and drops line ends, which would damage uploads.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from syft_flwr.emulators.gdrive.drive_errors import bad_request

_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))""", re.I)
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
# The rest of a line after a boundary: two dashes for the last boundary, and white space.
_AFTER = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")
_MAX_BOUNDARY = 70


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One part: its headers, with names in lower case, and its bytes."""

    headers: dict[str, str]
    body: bytes


def boundary_of(content_type: str) -> str:
    """Return the boundary in a content type, quoted or not.

    Raises:
        DriveError: 400, the boundary is missing or too long.
    """
    found = _BOUNDARY.search(content_type)
    boundary = re.sub(r"\\(.)", r"\1", found[1]) if found and found[1] is not None else found and found[2]
    if not boundary or len(boundary) > _MAX_BOUNDARY:
        raise bad_request("Missing multipart boundary.")
    return boundary


def split(body: bytes, boundary: str) -> list[BodyPart]:
    """Return the parts of a body.

    Raises:
        DriveError: 400, the closing boundary is missing.
    """
    parts: list[BodyPart] = []
    start: int | None = None
    for begin, end, is_last in _marks(body, boundary.encode("latin-1", "replace")):
        if start is not None:
            parts.append(_part(body, start, max(start, begin)))
        if is_last:
            return parts
        start = end
    raise bad_request("Malformed multipart body.")


def _marks(body: bytes, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield begin and end of each boundary line, including the line end before it, and whether it is the last.

    It uses ``find``, because a regular expression takes seconds for the body of a large upload.
    """
    delimiter = b"--" + boundary
    at = body.find(delimiter)
    while at >= 0:
        found = _AFTER.match(body, at + len(delimiter))
        if found and (at == 0 or body[at - 1 : at] == b"\n"):
            begin = at - (1 if at else 0)
            yield begin - (body[begin - 1 : begin] == b"\r" and begin > 0), found.end(), bool(found[1])
        at = body.find(delimiter, at + len(delimiter))


def _part(body: bytes, start: int, end: int) -> BodyPart:
    if line_end := _LINE_END.match(body, start, end):
        return BodyPart({}, body[line_end.end() : end])
    found = _EMPTY_LINE.search(body, start, end)
    if not found:
        return BodyPart(parse_headers(body[start:end]), b"")
    return BodyPart(parse_headers(body[start : found.start()]), body[found.end() : end])


def parse_headers(head: bytes) -> dict[str, str]:
    """Return the headers, with names in lower case. Folded lines are joined, and lines without a colon are skipped."""
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", head).decode("latin-1")
    named = (line.partition(":") for line in unfolded.splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in named}
