"""The rules by which the SyftBox client ignores files: its own ones, and those of the file ``syftignore``.

The scan applies a rule to a name from the datasite on. The watch, which starts every push, applies it to the whole path.
Source: ``sync_ignore.go`` and ``sync_engine.go`` in SyftBox's ``internal/client/sync``.
"""

import re
from dataclasses import dataclass
from functools import cached_property
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


#: Beside the rules that begin with a slash, the client applies these only to a path from its beginning.
_BOUND = re.compile(r"[^/+]/.*\*\.")


@dataclass(frozen=True)
class IgnoreRules:
    """The rules of the client, and the lines of ``syftignore`` after them, in the form of a ``.gitignore`` file."""

    lines: tuple[str, ...]

    @classmethod
    def read(cls, datasites: Path) -> "IgnoreRules":
        """Return the rules for the folder of all datasites.

        Raises:
            TransportError: the file ``syftignore`` cannot be read, or has more than 1 MiB.
        """
        try:
            text = read_bounded(datasites / FILE, _MAX_SIZE).decode(errors="replace")
        except NotFoundError:
            return cls(_OF_CLIENT)
        return cls((*_OF_CLIENT, *filter(_is_rule, map(str.strip, text.splitlines()))))

    def matching(self, path: str) -> str | None:
        """Return the rule because of which the client ignores ``path``; None if it does not. The last rule that fits counts."""
        last = next((line for line, spec in reversed(self._specs) if spec.match_file(path)), "!")
        return None if last.startswith("!") else last

    @cached_property
    def _specs(self) -> "list[tuple[str, GitIgnoreSpec]]":
        from pathspec import GitIgnoreSpec

        return [(line, GitIgnoreSpec.from_lines([_as_git_reads_it(line)])) for line in self.lines]


def _as_git_reads_it(rule: str) -> str:
    """Return the pattern of a rule, without its ``!``, with the meaning that it has for the client.

    Most patterns with a slash apply at every depth, and a question mark has no special meaning.
    """
    pattern = rule.removeprefix("!")
    bound = pattern.startswith("/") or _BOUND.search(pattern)
    return f"{'/' if bound else '**/'}{pattern.removeprefix('/')}".replace("?", "\\?")


def _is_rule(line: str) -> bool:
    """Return whether the client applies a line: it skips comments, and the lines that are no pattern."""
    from pathspec import GitIgnoreSpec

    if not line or line.startswith("#") or "\0" in line:
        return False
    try:
        GitIgnoreSpec.from_lines([_as_git_reads_it(line)])
    except ValueError:
        return False
    return True
