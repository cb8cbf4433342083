"""``syft-flwr run``: the whole federation on this machine, over mock data."""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syft_flwr.cli.arguments import TRANSPORT_NAMES, ProjectArgument, split_lists
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json
from syft_flwr.config.transport_table import labels

if TYPE_CHECKING:
    from syft_flwr.simulation.report import Report
    from syft_flwr.simulation.stand_in import Usage


def run_project(
    ctx: typer.Context,
    project: ProjectArgument,
    mock_paths: Annotated[
        list[str],
        typer.Option(
            "-m",
            "--mock-dataset-paths",
            metavar="PATH",
            help="Mock data of one datasite, in the order of the datasites; repeat, or separate by commas.",
        ),
    ],
    transport: Annotated[
        str | None,
        typer.Option(
            "--transport",
            metavar=TRANSPORT_NAMES,
            help=f"What lies between them, {' or '.join(f'a {label}' for label in labels())}; by default what the project says.",
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="End the run as failed after this time.")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="OUTPUT_DIR of the server; if left out, yours, or ./output."),
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For the logs; if left out, logs/<time> in the project.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the temporary folder of the run for a look at it.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run the whole federation of the project in the folder PROJECT on this machine, over mock data.

    Each participant is a process of its own, in a temporary folder that is removed afterwards. A stand-in
    on this machine takes the place of the project's transport. It needs no account. Where the transport is a service with
    limits, the end shows what each participant used. How it goes is shown as a table in a terminal and as lines elsewhere.
    """
    from syft_flwr.config.values import parse_seconds
    from syft_flwr.errors import RunError
    from syft_flwr.simulation import prepare

    chosen: dict[str, Any] = {"output_dir": output_dir, "log_dir": log_dir, "keep": keep}
    # With JSON, standard output holds the one object and nothing else.
    with redirect_stdout(sys.stderr) if output is Format.JSON else nullcontext():
        report = prepare(
            project,
            [Path(path) for path in split_lists(mock_paths)],
            transport=transport,
            timeout=None if timeout is None else parse_seconds(timeout, "--timeout"),
            **{name: value for name, value in chosen.items() if value},
        ).run()
    if not report.succeeded:
        error = RunError(f"the run failed: {report.problem}", hint="The log of each participant says why.")
        show_failure(ctx, error, _fields(report))
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(_fields(report))


def _fields(report: "Report") -> dict[str, Any]:
    """Return what a program may want to know of a run, whether it succeeded or not."""
    return {
        "output": report.output,
        "answers": report.answers,
        "failures": report.failures,
        "participants": [
            {
                "email": row.participant,
                "role": row.role,
                "state": row.state,
                "exit-code": row.exit_code,
                "answers": row.answers,
                "failures": row.failures,
                "last-failure": row.last_failure,
                "log": row.log,
            }
            for row in report.rows
        ],
        **({"drive": [_usage(used) for used in report.usage]} if report.usage else {}),
    }


def _usage(used: "Usage") -> dict[str, Any]:
    """Return what one account used of Google Drive."""
    return {
        "email": used.email,
        "calls": used.calls,
        "requests": used.requests,
        "units": used.units,
        "bytes-up": used.bytes_up,
        "bytes-down": used.bytes_down,
    }
