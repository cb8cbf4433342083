"""``syft-flwr config``: show each setting and its source."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from syft_flwr.cli.arguments import current_project
from syft_flwr.cli.examples import examples
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table

commands = typer.Typer(
    no_args_is_help=True, help="Show the settings of this participant.", epilog=examples("syft-flwr config show")
)


@commands.callback()
def group() -> None:
    """Show the settings of this participant."""


@commands.command("show", epilog=examples("syft-flwr config show", "syft-flwr config show project --format json"))
def show(
    project: Annotated[
        Path | None,
        typer.Argument(metavar="PROJECT", help="Folder of the project; by default the current folder if it holds one."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Print every setting with its value and its source.

    PROJECT is the folder of a Flower project. The default is the current folder if it holds one.
    """
    from syft_flwr.config import load_settings

    start_logging()
    settings = load_settings(project or current_project())
    problems = settings.problems
    if output is Format.JSON:
        rows = [
            {"name": setting.name, "value": _public(setting.value), "source": setting.source}
            | ({"problem": str(problems[setting.name])} if setting.name in problems else {})
            for setting in settings
        ]
        show_json({"settings": rows})
        return
    show_table(
        "Settings",
        ("Setting", "Value", "Source"),
        [
            (setting.name, _shown(_public(setting.value)), str(problems.get(setting.name, setting.source)))
            for setting in settings
        ],
    )


def _public(value: Any) -> Any:
    """Return a value of a setting; of a configuration, without its texts."""
    from syft_flwr.config.user_config import PrivateConfig
    from syft_flwr.config.values import NO_LIMIT

    if value == math.inf:
        return NO_LIMIT
    return value.masked() if isinstance(value, PrivateConfig) else value


def _shown(value: Any) -> str:
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, dict):
        return " ".join(f"{key}={_shown(each)}" for key, each in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)
