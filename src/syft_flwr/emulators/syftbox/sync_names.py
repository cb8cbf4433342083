"""Rules for file names: ignored names, real-time names, and the names of rejected and conflicting files.

Source: ``sync_ignore.go``, ``sync_priority.go`` and ``sync_marker.go`` in SyftBox's ``internal/client/sync``.
"""

import functools
import re
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase, translate

PERMISSIONS = "syft.pub.yaml"
#: Names of files that are sent at once (sync_priority.go). Newer releases of SyftBox add ``syft.pub.yaml``.
REALTIME = ("*.request", "*.response")

# From sync_ignore.go, in gitignore form: a pattern without a slash applies to every segment of a path. "Thumbds.db" is
# the spelling in that file. The list has the names of main and those that the development branch adds.
_IGNORED = (
    *("syftignore", "syft.sub.yaml", "*syftrejected*", "*syftconflict*"),
    *("*.conflict.*", "*.conflict", "*.rejected.*", "*.rejected"),
    *("*.syft.tmp.*", "*.tmp-*", ".syftkeep", "*.py[cod]", ".vscode", ".idea", ".git", "*.tmp", "*.log"),
    *("stream.fifo", "stream.sock", "stream.pipe", "stream.tcp", "stream.accept"),
    *(".DS_Store", "Thumbds.db", "Icon"),
)
_IGNORED_FOLDERS = frozenset({".data", ".ipynb_checkpoints", "__pycache__", "dist", "venv", ".venv", "logs"})
_IGNORED_SEGMENT = re.compile("|".join(f"(?:{translate(pattern)})" for pattern in _IGNORED))
# As IsValidPath in workspace/utils.go: the first segment has the form of an email.
_DATASITE = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+/")


class Marker(StrEnum):
    """The reason why a file was renamed instead of synchronised."""

    REJECTED = "rejected"
    CONFLICT = "conflict"


_MARKED = re.compile(rf"\.({'|'.join(Marker)})(?:\.\d{{14}})?")


def is_ignored_segment(segment: str, *, folder: bool) -> bool:
    """Return whether SyftBox ignores a file or folder with this name, including the contents of the folder."""
    return (folder and segment in _IGNORED_FOLDERS) or _IGNORED_SEGMENT.match(segment) is not None


@functools.lru_cache(maxsize=4096)
def is_ignored(name: str) -> bool:
    *folders, leaf = name.split("/")
    return is_ignored_segment(leaf, folder=False) or any(is_ignored_segment(part, folder=True) for part in folders)


def is_realtime(name: str, patterns: Collection[str] = REALTIME) -> bool:
    """Return whether a write event on ``name`` starts a push.

    A name that contains ``.rejected`` or ``.conflict`` anywhere does not (``IsMarkedPath``).
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
    """Return the marker name of a file: ``x.request`` becomes ``x.rejected.request``.

    With ``moment``, the name is the one that an older marker is moved to: ``x.conflict.20300102030405.request``.
    """
    folder, slash, leaf = name.rpartition("/")
    stem, dot, suffix = leaf.rpartition(".")
    if not dot:
        stem, suffix = leaf, ""
    stamp = f".{moment:%Y%m%d%H%M%S}" if moment else ""
    return f"{folder}{slash}{stem}.{marker}{stamp}{dot}{suffix}"


def unmarked(name: str) -> tuple[str, Marker | None]:
    """Return the name of the file to which a marker belongs, and the marker; None for a file that is none."""
    found = _MARKED.search(name)
    return (_MARKED.sub("", name), Marker(found[1])) if found else (name, None)


def scan_order(name: str, size: int, owner: str) -> tuple[int, str]:
    """Return the sort key of a download: own datasite, permissions, RPC, then by size (``getDownloadPriority``)."""
    if name.startswith(f"{owner}/"):
        rank = 0
    elif is_permissions(name):
        rank = 1
    elif "/rpc/" in name:
        rank = 2
    else:
        rank = size + len(name)
    return rank, name
