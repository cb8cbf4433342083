"""``syft-flwr runs``: list the runs of this participant and the local runs, or show one of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import EmailOption, RoleOption, current_project, role_of
from syft_flwr.cli.completion import complete_runs
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import (
    Format,
    FormatOption,
    show_failure,
    show_json,
    show_line,
    show_note,
    show_table,
    show_text,
)

if TYPE_CHECKING:
    from syft_flwr.config import Settings

_COLUMNS = ("Run", "App", "Role", "State", "Started", "Updated", "Round", "Replies", "Failed", "Cause")


def show_runs(
    ctx: typer.Context,
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_ID|PROJECT]",
            help="A run to show, or the folder of a project, for its settings; by default the current folder.",
            autocompletion=complete_runs,
        ),
    ] = None,
    role: RoleOption = None,
    email: EmailOption = None,
    events: Annotated[
        bool, typer.Option("--events", help="Print the entries of the run's record as JSON Lines.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the runs of this participant and the local runs of `syft-flwr run`, the latest last. With RUN_ID, show one run.

    An interrupted run has not ended, and no process serves it.
    Start its server or client again to continue it.
    A local run does not continue.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.runs.local_run import is_run_id

    start_logging()
    if wanted is not None and is_run_id(wanted):
        settings = load_settings(current_project(), email=email)
        _show_one(settings, wanted, role_of(role), email, output, events=events)
    elif role or email or events:
        raise typer.BadParameter("--role, --email and --events need the id of a run")
    else:
        _list_all(ctx, load_settings(Path(wanted) if wanted else current_project()), output)


def _show_one(
    settings: "Settings", wanted: str, role: str | None, email: str | None, output: Format, *, events: bool
) -> None:
    from syft_flwr.cli.run_account import fields_of_run, show_account
    from syft_flwr.runs.finding import find_run

    run = find_run(settings, wanted, role=role, email=email)
    if events:
        for entry in run.events():
            show_line(entry.encode().decode().rstrip("\n"))
    elif output is Format.JSON:
        show_json(fields_of_run(run))
    else:
        show_account(run)


def _list_all(ctx: typer.Context, settings: "Settings", output: Format) -> None:
    from syft_flwr.runs.listing import local_runs_of, runs_of

    found, problems = local_runs_of(settings.base)
    if settings.email:
        mine = runs_of(settings.require("home"))
        found, problems = sorted(found + mine[0], key=lambda run: run.row.started), problems + mine[1]
    elif not (found or problems):
        # Without any run to show, the missing email is the cause.
        settings.require("email")
    shown = {"runs": [run.as_fields() for run in found], "skipped": [str(problem) for problem in problems]}
    for problem in problems if found else problems[1:]:
        show_note(f"Skipped: {problem.diagnose()}")
    if problems and not found:
        # There may be runs, so that an empty list would be false.
        show_failure(ctx, problems[0], shown)
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(shown)
    elif found:
        show_table("Runs", _COLUMNS, [run.as_row() for run in found])
    else:
        show_text("No run has started yet.")
