"""Writes ``syft.pub.yaml`` files, with which SyftBox decides the readers and writers of the files of a datasite.

A file with rules of the user or of SyftBox is kept as it is.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from loguru import logger

from syft_flwr.errors import NotFoundError, TooLargeError
from syft_flwr.names import inbox_patterns, validate_name

#: The last part of the name of a permission file.
PERMISSIONS = "syft.pub.yaml"
_MAX_SIZE = 1 << 20
_OURS = "# Written by syft-flwr; it is rewritten as long as this line stands here."
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
#: A pattern of file names, its readers and its writers.
_Rule = tuple[str, tuple[str, ...], tuple[str, ...]]


class PermissionFiles:
    """The permission files that this participant writes in its datasite. Thread-safe.

    Args:
        read: returns the content of a file, given its name and the most bytes; raises NotFoundError or TooLargeError.
        write: writes a file, given its name and its content; an existing file is replaced.
        exists: returns whether a file with content has this name.
    """

    def __init__(
        self,
        read: Callable[[str, int], bytes],
        write: Callable[[str, bytes], None],
        exists: Callable[[str], bool],
    ) -> None:
        self._read = read
        self._write = write
        self._exists = exists
        self._lock = threading.Lock()
        #: The readers of each folder.
        self._granted: dict[str, set[str]] = {}
        #: The rules of each file that must exist, by its name.
        self._required: dict[str, Sequence[_Rule]] = {}

    def grant_read(self, folder: str, readers: Collection[str]) -> None:
        """Let ``readers`` read all files below ``folder``: add them to the permission file of the folder."""
        with self._lock:
            name = f"{folder}/{PERMISSIONS}"
            if folder not in self._granted:
                self._granted[folder] = self._readers_of(name)
            if self._granted[folder].issuperset(readers):
                return
            granted = self._granted[folder].union(readers)
            self._require(name, [("**", tuple(sorted(granted)), ())])
            # Only after the write: if it fails, the next call tries again.
            self._granted[folder] = granted

    def open_inbox(self, prefix: str) -> None:
        """Let each user write and read the inbox files in the folder of its own email below ``prefix``."""
        rules = [(pattern, ("USER",), ("USER",)) for pattern in inbox_patterns("{{.UserEmail}}")]
        with self._lock:
            self._require(validate_name(f"{prefix.rstrip('/')}/{PERMISSIONS}"), rules)

    def restore(self) -> None:
        """Write those of these files again that were deleted: without them, the peers may not write or read any more."""
        with self._lock:
            for name in [name for name in self._required if not self._exists(name)]:
                logger.debug("{} is missing, and is written again", name)
                self._put(name, self._required[name])

    def _readers_of(self, name: str) -> set[str]:
        """Return the readers in a permission file that this program wrote, such as before a restart."""
        try:
            text = self._read(name, _MAX_SIZE).decode(errors="replace")
        except (NotFoundError, TooLargeError):
            return set()
        lines = [line for line in text.splitlines() if line.startswith("    read: [")]
        return {quoted.replace("''", "'") for line in lines for quoted in _QUOTED.findall(line)}

    def _require(self, name: str, rules: Sequence[_Rule]) -> None:
        self._put(name, rules)
        self._required[name] = rules

    def _put(self, name: str, rules: Iterable[_Rule]) -> None:
        lines = [_OURS, "terminal: false", "rules:"]
        for pattern, read, write in rules:
            lines += [f"- pattern: {_quoted(pattern)}", "  access:"]
            lines += [
                f"    {verb}: [{', '.join(map(_quoted, who))}]" for verb, who in (("read", read), ("write", write))
            ]
        text = ("\n".join(lines) + "\n").encode()
        # An invalid file (empty, too large, a link) is replaced.
        with contextlib.suppress(NotFoundError, TooLargeError):
            present = self._read(name, _MAX_SIZE)
            if present == text or (b"rules:" in present and not present.startswith(_OURS.encode())):
                # The file is unchanged, or has rules of the user or of SyftBox, which this program keeps.
                return
        self._write(name, text)


def _quoted(text: str) -> str:
    """Return ``text`` as a single-quoted YAML scalar (YAML 1.2, section 7.3.2)."""
    return "'" + text.replace("'", "''") + "'"
