"""The exit codes of commands.

====  ===========  ========================================================
Code  Name         Meaning
====  ===========  ========================================================
0     OK           the command succeeded
1     FAILED       the run, a peer or the storage failed
2     USAGE        an option, a setting or the project is wrong; nothing was started
130   INTERRUPTED  Ctrl-C
143   TERMINATED   SIGTERM, to a server or a client
====  ===========  ========================================================

A :class:`~syft_flwr.errors.SyftFlwrError` is printed as a message and a hint. A traceback means a bug in this package.
"""

import sys
from enum import IntEnum
from pathlib import Path
from traceback import walk_tb
from typing import Any

import typer
from click import UsageError
from typer.core import TyperGroup

import syft_flwr
from syft_flwr.cli.output import note_arguments, show_failure, show_note, show_stop, show_usage
from syft_flwr.disk_errors import unusable
from syft_flwr.errors import ConfigError, SyftFlwrError


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


def exit_code(error: SyftFlwrError) -> ExitCode:
    """Return the exit code of a command that raised ``error``."""
    return ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILED


def _is_of_the_app(error: BaseException) -> bool:
    """Return whether code of the user raised this error: its traceback helps the user."""
    roots = (str(Path(syft_flwr.__file__).parent), sys.prefix, sys.base_prefix, "<")
    files = (frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__))
    return not all(file.startswith(roots) for file in files)


class CommandGroup(TyperGroup):
    """The group of all commands, which prints errors of this package without a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        note_arguments(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            show_usage(ctx, error)
            raise
        except SyftFlwrError as error:
            show_failure(ctx, error)
            raise typer.Exit(exit_code(error)) from error
        except OSError as error:
            if isinstance(error, ConnectionError) or _is_of_the_app(error):
                raise
            show_failure(ctx, unusable(error))
            raise typer.Exit(ExitCode.FAILED) from error
        except KeyboardInterrupt as error:
            show_stop(ctx, error)
            show_note("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
