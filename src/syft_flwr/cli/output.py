"""Prints the output of commands: a table or one JSON object on standard output, errors on standard error.

Every JSON object has the form ``{"success": true, …}`` or ``{"success": false, "error": {"type", "message", "hint"}}``.
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syft_flwr.errors import SyftFlwrError

if TYPE_CHECKING:
    from rich.console import Console

_FORMAT = "syft_flwr.format"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def _remember(ctx: typer.Context, value: Format) -> Format:
    # The outermost group prints errors and does not see the options of the command.
    ctx.meta[_FORMAT] = value
    return value


#: The option ``--format`` of every command that has a result.
FormatOption = Annotated[Format, typer.Option("--format", callback=_remember, help="How to print the result.")]


def show_text(text: str) -> None:
    """Print ``text`` for a person on standard output as it is: markup is not interpreted, long lines are not wrapped."""
    _print(_console(), text)


def show_json(fields: Mapping[str, Any]) -> None:
    """Print the JSON object of a successful command."""
    _print(_console(), json.dumps({"success": True, **fields}, indent=2, default=_as_json))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that folds long cells instead of cutting them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    _console().print(table)


def show_note(text: str) -> None:
    """Print ``text`` for a person on standard error."""
    _print(_console(stderr=True), text)


def show_failure(ctx: typer.Context, error: SyftFlwrError, fields: Mapping[str, Any] | None = None) -> None:
    """Print an error with its hint; with ``--format json``, also the JSON object, extended by ``fields``."""
    if ctx.meta.get(_FORMAT) is Format.JSON:
        reason = {"type": type(error).__name__, "message": str(error), "hint": error.hint}
        answer = {"success": False, "error": reason, **(fields or {})}
        _print(_console(), json.dumps(answer, indent=2, default=_as_json))
    show_note(f"Error: {error.diagnose()}")


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)


def _print(console: "Console", text: str) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _as_json(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")
