"""Arguments that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

#: The folder of a Flower project; the current folder when it is left out.
ProjectArgument = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the Flower project.")]

TransportOption = Annotated[
    str | None,
    typer.Option(
        "--transport", metavar="syftbox|p2p", help="What lies between the participants: SyftBox, or Google Drive (p2p)."
    ),
]


def split_lists(values: Iterable[str]) -> list[str]:
    """Flatten a repeated option each of whose values may be a comma list."""
    return [part.strip() for value in values for part in value.split(",")]


def current_project() -> Path | None:
    """Return the current folder if it holds a project."""
    return Path.cwd() if Path("pyproject.toml").is_file() else None
