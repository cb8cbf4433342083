"""The work of one block: its result, and the things that can execute it."""

from dataclasses import dataclass
from typing import Protocol

#: The exit code of a program that Ctrl-C ended.
INTERRUPTED = 130


class LateError(Exception):
    """A block did not end before its deadline."""


@dataclass(frozen=True)
class Result:
    """The end of a block.

    Attributes:
        exit_code: 0 for a success.
        output: all that the block printed.
        cause: the command that failed; empty for a success.
        broken: the terminal ended with the block.
    """

    exit_code: int
    output: str
    cause: str = ""
    broken: bool = False


class Executor(Protocol):
    """A terminal or a notebook: it executes one block at a time."""

    def start(self, code: str) -> None: ...
    def interrupt(self) -> bool: ...
    def output(self) -> str: ...
    def result(self, seconds: float) -> Result: ...
    def close(self) -> None: ...
