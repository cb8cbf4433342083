"""Writes ``syft.pub.yaml`` files, with which SyftBox decides the readers and writers of the files of a datasite.

Only the first line tells that a file is ours. Every other file with content stays as it is, also one that is not valid.
"""

import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from syft_flwr.log import logger
from syft_flwr.names import inbox_patterns, validate_name

#: The last part of the name of a permission file.
PERMISSIONS = "syft.pub.yaml"
#: Bytes of the largest file that is read.
MAX_SIZE = 1 << 20
_OURS = "# Written by syft-flwr; it is rewritten as long as this line stands here."
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
#: A pattern of file names, its readers and its writers.
Rule = tuple[str, tuple[str, ...], tuple[str, ...]]


class PermissionFiles:
    """The permission files that this participant writes in its datasite. Thread-safe.

    Args:
        present: returns the content of the file with this name. The content is empty if there is no file, and None if
            a thing stands there that this program cannot have written: a link, a folder, or more than ``MAX_SIZE`` bytes.
        fill: writes a file that is missing or empty, given its name and its content; a file that appears meanwhile stays.
        replace: replaces a file of this program.
    """

    def __init__(
        self,
        present: Callable[[str], bytes | None],
        fill: Callable[[str, bytes], None],
        replace: Callable[[str, bytes], None],
    ) -> None:
        self._present = present
        self._fill = fill
        self._replace = replace
        self._lock = threading.Lock()
        #: The readers of each folder.
        self._granted: dict[str, set[str]] = {}
        #: The rules of each file that must exist, by its name.
        self._required: dict[str, Sequence[Rule]] = {}

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
        with self._lock:
            self._require(validate_name(f"{prefix.rstrip('/')}/{PERMISSIONS}"), inbox_rules())

    def restore(self) -> None:
        """Write those of these files again that were deleted: without them, the peers may not write or read any more."""
        with self._lock:
            for name in [name for name in self._required if self._present(name) == b""]:
                logger.debug("{} is missing, and is written again", name)
                self._put(name, self._required[name])

    def _readers_of(self, name: str) -> set[str]:
        """Return the readers in a permission file that this program wrote, such as before a restart."""
        present = self._present(name)
        if present is None or not is_ours(present):
            return set()
        lines = [line for line in present.decode(errors="replace").splitlines() if line.startswith("    read: [")]
        return {quoted.replace("''", "'") for line in lines for quoted in _QUOTED.findall(line)}

    def _require(self, name: str, rules: Sequence[Rule]) -> None:
        self._put(name, rules)
        self._required[name] = rules

    def _put(self, name: str, rules: Iterable[Rule]) -> None:
        text = ("\n".join([_OURS, "terminal: false", "rules:", *rule_lines(rules)]) + "\n").encode()
        present = self._present(name)
        if present == b"":
            self._fill(name, text)
        elif present is not None and present != text and is_ours(present):
            self._replace(name, text)


def is_ours(content: bytes) -> bool:
    """Return whether this program wrote a permission file with this content, and may write it again."""
    return content.partition(b"\n")[0].rstrip(b"\r") == _OURS.encode()


def inbox_rules() -> list[Rule]:
    """Return the rules by which each user writes and reads the inbox files in the folder of its own email."""
    return [(pattern, ("USER",), ("USER",)) for pattern in inbox_patterns("{{.UserEmail}}")]


def rule_lines(rules: Iterable[Rule]) -> Iterator[str]:
    """Yield the lines of the list ``rules`` of a permission file."""
    for pattern, read, write in rules:
        yield from (f"- pattern: {_quoted(pattern)}", "  access:")
        for verb, who in (("read", read), ("write", write)):
            yield f"    {verb}: [{', '.join(map(_quoted, who))}]"


def _quoted(text: str) -> str:
    """Return ``text`` as a single-quoted YAML scalar (YAML 1.2, section 7.3.2)."""
    return "'" + text.replace("'", "''") + "'"
