"""The exit codes of commands.

====  ===========  ========================================================
Code  Name         Meaning
====  ===========  ========================================================
0     OK           everything asked for was done
1     FAILED       the run failed, or a peer or the storage refused
2     USAGE        a wrong option, setting or project; nothing was started
130   INTERRUPTED  Ctrl-C
143   TERMINATED   SIGTERM, to a server or a client
====  ===========  ========================================================

An error of ours is shown as what happened and what to do; a traceback means a mistake in this package.
"""

from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from syft_flwr.cli.output import show_failure, show_note
from syft_flwr.errors import ConfigError, SyftFlwrError


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


def exit_code(error: SyftFlwrError) -> ExitCode:
    """Return how a command ends that raised ``error``."""
    return ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILED


class CommandGroup(TyperGroup):
    """The commands, with errors of ours shown without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SyftFlwrError as error:
            show_failure(ctx, error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            show_note("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
