"""Writes the content of stored files, and returns its hash."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def write_blob(path: Path, content: Iterable[bytes]) -> tuple[str, int]:
    """Write a new file; return the SHA-256 of its content in hex, and its size in bytes.

    Raises:
        OSError: the file cannot be written; a part of it may exist.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for chunk in content:
            digest.update(chunk)
            size += file.write(chunk)
    return digest.hexdigest(), size
