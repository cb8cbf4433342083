"""The comments of a page: the rule of one code block, on the line before its fence, and the machines, above the first one."""

import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePosixPath

_COMMENT = re.compile(r"<!--\s*(\w+):\s*(.*?)\s*-->", re.S)
_SKIPPED = "not executed:"


class Waiting(Enum):
    """The time for which the page waits for a block."""

    NOW = "until its end, before the next block"
    BACKGROUND = "until its end, before the next block of the same terminal"
    STOPPED = "until Ctrl-C, which it gets before the next block of the same terminal"


@dataclass(frozen=True)
class Rule:
    """The rule of one block.

    Attributes:
        terminals: the names of the terminals, for each of which the block counts; empty for the first one of the page.
        exit_code: the exit code that the block must have.
        file: the file that gets the text of the block; empty if it is executed.
        appends: the text is added to the end of ``file``.
        reason: the reason why the block is not executed; empty if it is.
    """

    terminals: tuple[str, ...] = ()
    waiting: Waiting = Waiting.NOW
    exit_code: int = 0
    file: str = ""
    appends: bool = False
    reason: str = ""


@dataclass(frozen=True)
class StageLine:
    """The machines of a page: ``<!-- stage: NAME, participants A B, fresh environment -->``."""

    name: str = "one machine"
    participants: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def emails(self) -> dict[str, str]:
        """Return the email of each participant by the name of its terminal."""
        return {email.partition("@")[0]: email for email in self.participants}


def parse_stage(text: str) -> StageLine:
    """Return the machines with the words of a comment; ValueError for an unknown one."""
    name, *options = [part.strip() for part in text.split(",")]
    participants: tuple[str, ...] = ()
    fresh = False
    for option in options:
        if option.startswith("participants "):
            participants = tuple(option.split()[1:])
        elif option == "fresh environment":
            fresh = True
        else:
            raise ValueError(f"the stage has an unknown option: {option!r}")
    if name not in {"one machine", "syftbox", "drive"} or (name != "one machine" and not participants):
        raise ValueError("a stage is `one machine`, or `syftbox` or `drive` with participants")
    return StageLine(name, participants, fresh)


def read_comment(text: str, kind: str) -> str | None:
    """Return the content of a comment ``<!-- kind: content -->``, and None for every other text."""
    found = _COMMENT.fullmatch(text.strip())
    return found[2] if found and found[1] == kind else None


def parse_rule(text: str) -> Rule:
    """Return the rule with the words of a comment.

    Raises:
        ValueError: a word is unknown, or a path leaves the folder of the page.
    """
    if text.startswith(_SKIPPED):
        reason = text.removeprefix(_SKIPPED).strip()
        if len(reason.split()) < 3:
            raise ValueError("a block that is not executed needs a sentence as its reason")
        return Rule(reason=reason)
    rule = Rule()
    for word in (part.strip() for part in text.split(",")):
        rule = _with(rule, word)
    return rule


def _with(rule: Rule, word: str) -> Rule:
    verb, _, value = word.partition(" ")
    match verb, value.strip():
        case "on", names if re.fullmatch(r"[\w.-]+( [\w.-]+)*", names):
            return replace(rule, terminals=tuple(names.split()))
        case "background", "":
            return replace(rule, waiting=Waiting.BACKGROUND)
        case "until", "stopped":
            return replace(rule, waiting=Waiting.STOPPED)
        case "fails", code if code.isdecimal() and 0 < int(code) < 256:
            return replace(rule, exit_code=int(code))
        case (("file" | "append"), path) if path:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"the path {path!r} leaves the folder of the page")
            return replace(rule, file=path, appends=verb == "append")
    raise ValueError(f"the rule {word!r} is unknown")
