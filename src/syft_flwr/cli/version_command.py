"""``syft-flwr version``: show the versions of syft-flwr, Flower and Python."""

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

from syft_flwr import __version__
from syft_flwr.cli.output import Format, FormatOption, show_json, show_text


def show_version(output: FormatOption = Format.TABLE) -> None:
    """Print the versions of syft-flwr, Flower and Python."""
    try:
        flower = version("flwr")
    except PackageNotFoundError:
        flower = "not installed"
    versions = {"syft-flwr": __version__, "flwr": flower, "python": platform.python_version()}
    if output is Format.JSON:
        show_json({"versions": versions})
    else:
        show_text("\n".join(f"{name} {number}" for name, number in versions.items()))


def show_and_exit(wanted: bool) -> None:
    """Print the version and exit, for the option ``--version``."""
    if wanted:
        show_text(f"syft-flwr {__version__}")
        raise typer.Exit
