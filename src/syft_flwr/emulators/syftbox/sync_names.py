"""Which names SyftBox carries, which at once, and how it names what it sets aside.

Facts from the SyftBox sources, ``internal/client/sync``: ``sync_ignore.go``, ``sync_priority.go``, ``sync_marker.go``.
"""

import functools
import re
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase, translate

PERMISSIONS = "syft.pub.yaml"
#: What goes at once (sync_priority.go). Newer releases add ``syft.pub.yaml``; the default is what all releases do.
REALTIME = ("*.request", "*.response")

# sync_ignore.go, in gitignore form: without a slash a pattern is about every segment of a path. "Thumbds.db" is what
# stands there.
_IGNORED = (
    *("syftignore", "syft.sub.yaml", "*syftrejected*", "*syftconflict*"),
    *("*.conflict.*", "*.conflict", "*.rejected.*", "*.rejected"),
    *("*.syft.tmp.*", "*.tmp-*", ".syftkeep", "*.py[cod]", ".vscode", ".idea", ".git", "*.tmp", "*.log"),
    *("stream.fifo", "stream.sock", "stream.pipe", "stream.accept", ".DS_Store", "Thumbds.db", "Icon"),
)
_IGNORED_FOLDERS = frozenset(
    {".data", ".ipynb_checkpoints", "__pycache__", "dist", "venv", ".venv", "logs", ".syft-tmp"}
)
_IGNORED_SEGMENT = re.compile("|".join(f"(?:{translate(pattern)})" for pattern in _IGNORED))
# workspace/utils.go, IsValidPath: the first segment looks like an email.
_DATASITE = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+/")


class Marker(StrEnum):
    """Why a file was set aside."""

    REJECTED = "rejected"
    CONFLICT = "conflict"


def is_ignored_segment(segment: str, *, folder: bool) -> bool:
    """Say whether a folder or file of this name, and what is in it, is never carried."""
    return (folder and segment in _IGNORED_FOLDERS) or _IGNORED_SEGMENT.match(segment) is not None


@functools.lru_cache(maxsize=4096)
def is_ignored(name: str) -> bool:
    *folders, leaf = name.split("/")
    return is_ignored_segment(leaf, folder=False) or any(is_ignored_segment(part, folder=True) for part in folders)


def is_realtime(name: str, patterns: Collection[str] = REALTIME) -> bool:
    """Say whether a write event on ``name`` is acted on at once.

    Anything with a marker in it is not, even where the marker is no more than a part of the name (IsMarkedPath).
    """
    leaf = name.rpartition("/")[2]
    return (
        any(fnmatchcase(leaf, pattern) for pattern in patterns)
        and not any(f".{marker}" in name for marker in Marker)
        and is_in_datasite(name)
        and not is_ignored(name)
    )


def is_in_datasite(name: str) -> bool:
    return _DATASITE.match(name) is not None


def is_permissions(name: str) -> bool:
    return name.rpartition("/")[2] == PERMISSIONS


def marked(name: str, marker: Marker, moment: datetime | None = None) -> str:
    """Return the name of a file that is set aside: ``x.request`` becomes ``x.rejected.request``.

    A former marker that makes room gets the ``moment`` as well: ``x.conflict.20300102030405.request``.
    """
    folder, slash, leaf = name.rpartition("/")
    stem, dot, suffix = leaf.rpartition(".")
    if not dot:
        stem, suffix = leaf, ""
    stamp = f".{moment:%Y%m%d%H%M%S}" if moment else ""
    return f"{folder}{slash}{stem}.{marker}{stamp}{dot}{suffix}"


def scan_order(name: str, size: int, owner: str) -> tuple[int, str]:
    """Sort downloads of one scan as getDownloadPriority does: own datasite, permissions, RPC, then by size."""
    if name.startswith(f"{owner}/"):
        rank = 0
    elif is_permissions(name):
        rank = 1
    elif "/rpc/" in name:
        rank = 2
    else:
        rank = size + len(name)
    return rank, name
