"""``syft-flwr runs``: list the runs of this participant with their state."""

from syft_flwr.cli.arguments import SettingsArgument, current_project
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table, show_text


def list_runs(
    project: SettingsArgument = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the runs of this participant with their state, the latest last.

    An interrupted run has not ended, and no process serves it.
    Start its server or client again to continue it.
    PROJECT is the folder of a project, for its settings; by default the current folder.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.runs.listing import runs_of

    start_logging()
    settings = load_settings(project or current_project())
    found = runs_of(settings.require("home"), str(settings.require("email")))
    if output is Format.JSON:
        show_json({"runs": [run.as_fields() for run in found]})
    elif not found:
        show_text("No run has started yet.")
    else:
        columns = ("Run", "App", "Role", "State", "Started", "Updated", "Round", "Answered", "Failed", "Cause")
        show_table("Runs", columns, [run.as_row() for run in found])
