"""``syft-flwr report``: write the report of a run as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from syft_flwr.cli.arguments import EmailOption, RoleOption, current_project, role_of
from syft_flwr.cli.completion import complete_runs
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_text


def write_run_report(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run id, or the name of a local run; by default the latest run, as for `syft-flwr status`.",
            autocompletion=complete_runs,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The file, or a folder for it; by default <app>-<run>.html in the current folder. "
            "A file that is no report is not replaced.",
        ),
    ] = None,
    role: RoleOption = None,
    email: EmailOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Write the report of a run: one HTML file that opens from the disk, without a network and without scripts.

    It has the outcome, the metrics, the time of each data owner, the failures and the configuration, as the record says.
    A data owner gets the requests that it received, and the replies that left.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.report.report_file import write_report
    from syft_flwr.runs.finding import find_run
    from syft_flwr.runs.watched_run import latest_run

    start_logging()
    settings, side = load_settings(current_project(), email=email), role_of(role)
    if run is None:
        run, side = latest_run(settings, role=side, email=email)
    found = find_run(settings, run, role=side, email=email)
    path = write_report(found, file)
    if output is Format.JSON:
        fields = {"run-id": found.id, "role": found.role, "participant": found.participant, "state": found.state}
        show_json({"path": path, "bytes": path.stat().st_size, **fields, "succeeded": bool(found)})
    else:
        show_text(f"Report: {path}")
