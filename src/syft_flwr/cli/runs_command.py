"""``syft-flwr runs``: list the runs, and where each stands."""

from pathlib import Path
from typing import Annotated

import typer

from syft_flwr.cli.arguments import current_project
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table, show_text


def list_runs(
    project: Annotated[
        Path | None,
        typer.Argument(metavar="PROJECT", help="Folder of a project, for its settings; the current one if it is one."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the runs that this participant took part in, the latest last, and where each stands.

    A run that is called interrupted has no end and no process that serves it: start its server (or client) again, and it
    goes on.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.runs.listing import runs_of

    start_logging()
    settings = load_settings(project or current_project())
    found = runs_of(settings.require("home"), str(settings.require("email")))
    if output is Format.JSON:
        show_json({"runs": [run.as_fields() for run in found]})
    elif not found:
        show_text("There was no run yet.")
    else:
        columns = ("Run", "App", "Role", "State", "Started", "Updated", "Round", "Answered", "Failed", "Cause")
        show_table("Runs", columns, [run.as_row() for run in found])
