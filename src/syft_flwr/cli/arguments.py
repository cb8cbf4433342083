"""Arguments and options that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from syft_flwr.config.transport_table import TRANSPORTS, labels
from syft_flwr.errors import ConfigError

#: The folder of a Flower project.
ProjectArgument = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the Flower project.")]

#: The folder of a project, of which the command reads only the settings.
SettingsArgument = Annotated[
    Path | None,
    typer.Argument(metavar="PROJECT", help="Folder of a project, for its settings; by default the current one."),
]

#: Values of the run configuration, in the syntax of Flower.
RunConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--run-config",
        metavar="'KEY=VALUE ...'",
        # The backslash keeps the bracket: Rich would read a style.
        help="Values that replace those of \\[tool.flwr.app.config], as for `flwr run`: pairs in quotes, or a .toml file. "
        "Repeat it for more.",
    ),
]

StrictOption = Annotated[
    bool, typer.Option("--strict", help="Let each failed request count as a failure of the run: exit code 1.")
]

LogFileOption = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="PATH",
        help="Also write the log to this file; at 10 MB, it gets the name PATH.1, and a new one begins.",
    ),
]

#: The roles of the option ``--role``, and their names in records.
_ROLES = {"aggregator": "aggregator", "data-owner": "datasite"}
RoleOption = Annotated[
    str | None,
    typer.Option(metavar="aggregator|data-owner", help="The side of the run; by default the aggregator's."),
]
EmailOption = Annotated[
    str | None, typer.Option(metavar="EMAIL", help="The participant of the run; by default your own.")
]

TRANSPORT_NAMES = "|".join(TRANSPORTS)
TransportOption = Annotated[
    str | None,
    typer.Option(
        "--transport",
        metavar=TRANSPORT_NAMES,
        help=f"How the participants exchange files: {', or '.join(labels())}.",
    ),
]


def split_lists(values: Iterable[str]) -> list[str]:
    """Return the values of a repeated option as one list; each value may contain several, separated by commas."""
    return [part.strip() for value in values for part in value.split(",")]


def role_of(option: str | None) -> str | None:
    """Return the name that records have for the role of ``--role``.

    Raises:
        ConfigError: no role has this name.
    """
    if option not in (None, *_ROLES, *_ROLES.values()):
        raise ConfigError.not_allowed("--role", option, ", ".join(_ROLES))
    return _ROLES.get(option or "", option)


def current_project() -> Path | None:
    """Return the current folder if it contains a project, otherwise None."""
    return Path.cwd() if Path("pyproject.toml").is_file() else None
