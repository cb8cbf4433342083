"""The parts of the reference of the command line, from the help texts of the commands."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click
from typer.main import get_command

from syft_flwr.cli.app import app

PROGRAM = "syft-flwr"


def commands() -> dict[str, Any]:
    """Return all commands that the help shows, by name without that of the program; a group of commands is one too."""
    return dict(_below(get_command(app), ""))


def _below(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if not command.hidden:
            yield f"{prefix}{name}", command
            if hasattr(command, "commands"):
                yield from _below(command, f"{prefix}{name} ")


def commands_table() -> str:
    """Return a table of the commands with their purpose."""
    rows = [f"| [`{PROGRAM} {name}`](#{_anchor(name)}) | {_help(each)[0]} |" for name, each in commands().items()]
    return "\n".join(["| command | purpose |", "| --- | --- |", *rows, ""])


def _anchor(name: str) -> str:
    return f"{PROGRAM} {name}".replace(" ", "-")


def command_part(name: str) -> str:
    """Return the usage of a command, its help, its arguments and options, and its examples."""
    command = commands()[name]
    context = click.Context(command, info_name=f"{PROGRAM} {name}")
    usage = " ".join([f"{PROGRAM} {name}", *command.collect_usage_pieces(context)])
    rows = [_row(each) for each in command.params if not getattr(each, "hidden", False)]
    table = ["| argument or option | default | meaning |", "| --- | --- | --- |", *rows]
    examples = [line.replace("\\[", "[") for line in (command.epilog or "").split("\n\n")[1:]]
    parts = [["```text", usage, "```"], [" ".join(_help(command))], table if rows else []]
    parts.append(["```sh", *examples, "```"] if examples else [])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def root_part() -> str:
    """Return a table of the options of the program itself."""
    rows = [_row(each) for each in get_command(app).params]
    return "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _help(command: Any) -> list[str]:
    """Return the help text as sentences or lines, the first of them alone."""
    paragraphs = inspect.cleandoc(command.help).split("\n\n")
    return [_prose(" ".join(paragraph.split())) for paragraph in paragraphs]


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name}`" if not parameter.metavar else f"`{parameter.metavar.strip('[].')}`"
    else:
        names = ", ".join(f"`{each}`" for each in sorted(parameter.opts, key=lambda each: each.startswith("--")))
        names += "" if parameter.is_flag else f" `{_value(parameter)}`"
    return f"| {_cell(names)} | {_cell(_default(parameter))} | {_cell(_prose(parameter.help))} |"


def _value(option: Any) -> str:
    return str(
        option.metavar
        or "|".join(getattr(option.type, "choices", []))
        or option.type.name.upper().removesuffix(" RANGE")
    )


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, False, ()):
        return ""
    return f"`{getattr(parameter.default, 'value', parameter.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _prose(text: str) -> str:
    """Return a help text as Markdown: an option is code, and ``<`` begins no element."""
    return re.sub(r"(?<![`\w-])--[a-z-]+", r"`\g<0>`", text.replace("\\[", "[").replace("<", "&lt;"))
