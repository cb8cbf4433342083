"""Downloads, whole or in part."""

import re

from syft_flwr.emulators.gdrive.exchange import Reply

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def partial(data: bytes, wanted: str, content_type: str) -> Reply:
    """Answer a download: 200 whole, 206 a part, 416 what begins after the end; a malformed range counts as none."""
    headers = {"Content-Type": content_type, "Accept-Ranges": "bytes"}
    found = _RANGE.fullmatch(wanted.replace(" ", ""))
    if not found or not (found[1] or found[2]):
        return Reply(200, data, headers, media=len(data))
    if found[1]:
        start = int(found[1])
        end = min(int(found[2]) + 1 if found[2] else len(data), len(data))
        if found[2] and int(found[2]) < start:
            return Reply(200, data, headers, media=len(data))
    else:
        start, end = max(0, len(data) - int(found[2])), len(data)
    if start >= len(data):
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    part = data[start:end]
    return Reply(206, part, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, media=len(part))
