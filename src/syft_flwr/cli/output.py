"""Prints the output of commands: a table or one JSON object on standard output, errors on standard error.

A table is as wide as it needs to be in a file or a pipe. In a terminal that is too narrow for it, each row becomes a few
lines. So an id is never cut or broken.

Every JSON object has the form ``{"success": true, …}`` or ``{"success": false, "error": {"type", "message", "hint"}}``.
"""

import errno
import json
import math
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from click import UsageError, get_current_context
from click.core import ParameterSource

from syft_flwr.console import cell, print_text
from syft_flwr.errors import SyftFlwrError

if TYPE_CHECKING:
    from rich.console import Console

_FORMAT = "syft_flwr.format"
#: The stream for JSON, if standard output has another use.
_STREAM = "syft_flwr.stream"
#: Whether each JSON object is one line.
_LINES = "syft_flwr.lines"
#: Whether the JSON object was printed.
_PRINTED = "syft_flwr.printed"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def _remember(ctx: typer.Context, option: typer.CallbackParam, value: Format) -> Format:
    if ctx.resilient_parsing:
        # A shell asks for completions.
        return value
    # The outermost group prints errors and does not see the options of the command. The default of a group between them
    # says nothing.
    if option.name and ctx.get_parameter_source(option.name) is not ParameterSource.DEFAULT:
        ctx.meta[_FORMAT] = value
    if value is Format.JSON:
        _reserve_output(ctx)
    return value


#: The option ``--format`` of every command that has a result.
FormatOption = Annotated[Format, typer.Option("--format", callback=_remember, help="How to print the result.")]


def note_arguments(ctx: typer.Context, arguments: Sequence[str]) -> None:
    """Note the wanted format, so that an error before the option is read is also printed in this format."""
    if f"--format={Format.JSON}" in arguments or ("--format", Format.JSON) in pairwise(arguments):
        ctx.meta[_FORMAT] = Format.JSON


def _reserve_output(ctx: typer.Context) -> None:
    """Keep standard output for JSON alone.

    All else that this process and its children print there goes to standard error, until the process ends.
    """
    if sys.stdout is None:
        # The shell closed it, with ``>&-``.
        ctx.meta[_STREAM] = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
        return
    sys.stdout.flush()
    try:
        is_real = sys.stdout.fileno() == 1
    except (OSError, ValueError):
        is_real = False
    if is_real:
        # Also for code in C and for child processes, which write to the descriptor.
        ctx.meta[_STREAM] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
    else:
        ctx.meta[_STREAM] = sys.stdout
        redirected = redirect_stdout(sys.stderr)
        redirected.__enter__()
        ctx.find_root().call_on_close(lambda: redirected.__exit__(None, None, None))


def show_text(text: str) -> None:
    """Print ``text`` for a person on standard output as it is: markup is not interpreted, long lines are not wrapped."""
    print_text(_console(), text)


def show_line(text: str) -> None:
    """Print a line of JSON Lines on standard output, also with ``--format json``."""
    print_text(_console(file=_json_stream()), text)


def show_json(fields: Mapping[str, Any]) -> None:
    """Print the JSON object of a successful command."""
    _print_json({"success": True, **fields})


def show_json_line(fields: Mapping[str, Any]) -> None:
    """Print one of several JSON objects of a command as one line. A later error is also one line."""
    if context := get_current_context(silent=True):
        context.meta[_LINES] = True
    _print_json({"success": True, **fields})


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; in a terminal that is too narrow for it, print some lines for each row."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = _console()
    table = Table(title=cell(console, title), title_justify="left", box=SIMPLE_HEAD)
    cells = [[cell(console, text) for text in row] for row in rows]
    for column in columns:
        table.add_column(cell(console, column), no_wrap=True)
    for row in cells:
        table.add_row(*row)
    # A file is as wide as the table needs.
    width = console.measure(table, options=console.options.update(width=sys.maxsize)).maximum
    if not console.is_terminal:
        console.width = max(width, console.width)
    if width <= console.width:
        console.print(table)
        return
    print_text(console, title)
    for row in cells:
        print_text(console, "")
        for line in _as_lines(columns, [each.plain for each in row], console.width):
            print_text(console, line)


def _as_lines(columns: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """Return a row as its first cell and indented lines with the names and values of the others."""
    lines = [row[0], ""]
    parts = [f"{column}: {cell}" for column, cell in zip(columns[1:], row[1:], strict=True) if cell]
    for part in parts:
        separator = ", " if lines[-1] else "  "
        if lines[-1] and len(lines[-1]) + len(separator) + len(part) >= width:
            lines[-1] += ","
            lines.append("")
            separator = "  "
        # A value that is longer than a line is broken between words; a single longer word stays whole.
        for number, word in enumerate(part.split(" ")):
            gap = separator if number == 0 else " "
            if number and len(lines[-1]) + 1 + len(word) > width:
                lines.append("")
                gap = "    "
            lines[-1] += gap + word
    return [line for line in lines if line]


def show_note(text: str) -> None:
    """Print ``text`` for a person on standard error. One that cannot be written does not change the exit code."""
    with suppress(OSError):
        print_text(_console(stderr=True), text)


def show_failure(ctx: typer.Context, error: SyftFlwrError, fields: Mapping[str, Any] | None = None) -> None:
    """Print an error with its hint; with ``--format json``, also the JSON object, extended by ``fields``."""
    if ctx.meta.get(_FORMAT) is Format.JSON:
        reason = {"type": type(error).__name__, "message": str(error), "hint": error.hint}
        # The output itself may be the cause: a file on a full disk.
        with suppress(OSError):
            _print_json({"success": False, "error": reason, **(fields or {})})
    show_note(f"Error: {error.diagnose()}")


def show_usage(ctx: typer.Context, error: UsageError) -> None:
    """With ``--format json``, print the object of a command with wrong arguments. Typer prints the text for people."""
    if ctx.meta.get(_FORMAT) is Format.JSON:
        help_of = error.ctx.command_path if error.ctx else ctx.command_path
        reason = {"type": type(error).__name__, "message": error.format_message(), "hint": f"Try: {help_of} --help"}
        _print_json({"success": False, "error": reason})


def show_stop(ctx: typer.Context, error: BaseException, fields: Mapping[str, Any] | None = None) -> None:
    """With ``--format json``, print the object of a command that Ctrl-C or SIGTERM ends, unless it was printed before."""
    if ctx.meta.get(_FORMAT) is Format.JSON and not ctx.meta.get(_PRINTED):
        line = "interrupted" if isinstance(error, KeyboardInterrupt) else "terminated"
        reason = {"type": type(error).__name__, "message": line, "hint": ""}
        _print_json({"success": False, "error": reason, "state": "stopped", **(fields or {})})


def pause(seconds: float) -> None:
    """Wait between two lines of a stream.

    Raises:
        BrokenPipeError: the reader of standard output is gone, as after ``| head -1``.
    """
    end = time.monotonic() + seconds
    gone = select.poll()
    # Not there if a test or a notebook replaced the stream.
    with suppress(OSError, ValueError):
        gone.register(_json_stream().fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in gone.poll(seconds * 1_000)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    time.sleep(max(0.0, end - time.monotonic()))


def _console(*, stderr: bool = False, file: IO[str] | None = None) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, file=file)


def _json_stream() -> IO[str]:
    context = get_current_context(silent=True)
    return (context.meta.get(_STREAM) if context else None) or sys.stdout


def _print_json(fields: Mapping[str, Any]) -> None:
    context = get_current_context(silent=True)
    if context:
        context.meta[_PRINTED] = True
    stream = _json_stream()
    indent = None if context and context.meta.get(_LINES) else 2
    stream.write(_json(fields, indent) + "\n")
    stream.flush()


def _json(fields: Mapping[str, Any], indent: int | None) -> str:
    try:
        return json.dumps(fields, indent=indent, default=_as_json, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(fields), indent=indent, default=_as_json)


def _finite(value: Any) -> Any:
    """Return ``value`` with a text for NaN and infinity, as in a record: JSON has no number for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {_finite(name): _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def _as_json(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")
