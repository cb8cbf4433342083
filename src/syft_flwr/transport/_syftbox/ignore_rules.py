"""The rules by which the SyftBox client ignores files: its own ones, and those of the file ``syftignore``.

The scan applies a rule to a name from the datasite on. The watch, which starts every push, applies it to the whole path.
Source: ``sync_ignore.go`` and ``sync_engine.go`` in SyftBox's ``internal/client/sync``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from syft_flwr.errors import NotFoundError
from syft_flwr.transport._disk import read_bounded

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

#: The file in the folder of all datasites.
FILE = "syftignore"
_MAX_SIZE = 1 << 20
#: The rules of the client itself that can match a folder above the data folder.
_OF_CLIENT = (
    *("**/*syftrejected*", "**/*syftconflict*", "**/*.conflict.*", "**/*.rejected.*", "*.syft.tmp.*", "*.tmp", "*.log"),
    *("dist/", "venv/", ".venv/", "logs/", "__pycache__/", ".ipynb_checkpoints/", "*.py[cod]"),
    *(".vscode", ".idea", ".git", "Icon"),
)


#: Beside the rules that begin with a slash, the client applies rules only to a path from its beginning if this is followed
#: by ``*.`` somewhere.
_BOUND = re.compile(r"[^/+]/")
#: Wildcards in one part of a path, and characters of a rule. With more, a match could take very long.
_MOST_STARS, _LONGEST_RULE = 4, 1_024


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The rules of the client, and the lines of ``syftignore`` after them, each with its pattern."""

    rules: "tuple[tuple[str, GitIgnoreSpec], ...]"

    @classmethod
    def read(cls, datasites: Path) -> "IgnoreRules":
        """Return the rules for the folder of all datasites.

        Raises:
            TransportError: the file ``syftignore`` cannot be read, or has more than 1 MiB.
        """
        try:
            text = read_bounded(datasites / FILE, _MAX_SIZE).decode(errors="replace")
        except NotFoundError:
            text = ""
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> "IgnoreRules":
        """Return the rules of the client, and those in the text of a file. Lines with very many wildcards are left out."""
        lines = (*_OF_CLIENT, *map(str.strip, text.splitlines()))
        return cls(tuple((line, pattern) for line in lines if (pattern := _pattern_of(line))))

    def matching(self, path: str) -> str | None:
        """Return the rule because of which the client ignores ``path``; None if it does not. The last rule that fits counts."""
        last = next((line for line, pattern in reversed(self.rules) if pattern.match_file(path)), "!")
        return None if last.startswith("!") else last


def _as_git_reads_it(rule: str) -> str:
    """Return the pattern of a rule, without its ``!``, with the meaning that it has for the client.

    Most patterns with a slash apply at every depth, and a question mark has no special meaning.
    """
    pattern = rule.removeprefix("!")
    begin = _BOUND.search(pattern)
    bound = pattern.startswith("/") or (begin and "*." in pattern[begin.end() :])
    return f"{'/' if bound else '**/'}{pattern.removeprefix('/')}".replace("?", "\\?")


def _pattern_of(line: str) -> "GitIgnoreSpec | None":
    """Return the pattern of a line; None if the client skips it: a comment, or a line that is no pattern."""
    from pathspec import GitIgnoreSpec

    if not line or line.startswith("#") or "\0" in line or len(line) > _LONGEST_RULE:
        return None
    if any(part.count("*") > _MOST_STARS for part in line.split("/")):
        return None
    try:
        return GitIgnoreSpec.from_lines([_as_git_reads_it(line)])
    except (ValueError, re.error):
        # The library makes a regular expression of each pattern, and ``[z-a]`` is none.
        return None
