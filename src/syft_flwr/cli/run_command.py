"""``syft-flwr run``: run a whole federation on this machine, over mock data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syft_flwr.cli.arguments import TRANSPORT_NAMES, ProjectArgument, RunConfigOption, StrictOption, split_lists
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json, show_note, show_stop
from syft_flwr.config.transport_table import labels

if TYPE_CHECKING:
    from syft_flwr.simulation.closing_report import Report
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
            help="Mock data of one data owner. Repeat it in the order of the project, or separate paths by commas.",
        ),
    ],
    transport: Annotated[
        str | None,
        typer.Option(
            "--transport",
            metavar=TRANSPORT_NAMES,
            help=f"How the participants exchange files: {' or '.join(labels())}; by default as in the project.",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="End the run as failed after this time; by default, never."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="OUTPUT_DIR of the server; by default your own OUTPUT_DIR, or ./output."),
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for the logs; by default logs/<time> in the project.")
    ] = None,
    node_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAIRS",
            help="Values for context.node_config of one data owner, such as 'partition-id=3', or the path of a .toml file. "
            "Repeat it in the order of the project, with '' for a data owner without values.",
        ),
    ] = None,
    keep_files: Annotated[
        bool,
        typer.Option("--keep-files", help="Keep the temporary folder of the run, with the keys of all participants."),
    ] = False,
    run_config: RunConfigOption = None,
    strict: StrictOption = False,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", metavar="PATH", help="Also write the report of the run, as `syft-flwr report` does."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run the whole federation of the project in the folder PROJECT on this machine, over mock data.

    Each participant is a separate process in a temporary folder of this run.
    The folder is deleted at the end.
    A local folder or an emulator replaces the transport, so no account is needed.
    With Google Drive, the result shows how much of its limits each participant used.
    The progress is a table in a terminal, and lines in a file.
    The exit code is 1 if the run failed, or if a datasite had losses and gave no good reply to that kind of message.
    """
    start_logging()
    from syft_flwr.config.user_config import parse_user_config
    from syft_flwr.config.values import parse_seconds
    from syft_flwr.errors import RunError
    from syft_flwr.simulation import prepare

    if report_file:
        # The run would end without its report.
        _check_report(report_file)
    chosen: dict[str, Any] = {
        "output_dir": output_dir,
        "log_dir": log_dir,
        "keep_files": keep_files,
        "node_configs": node_config,
        "strict": strict,
    }
    if run_config:
        chosen["run_config"] = parse_user_config(run_config, "--run-config")
    report = prepare(
        project,
        [Path(path) for path in split_lists(mock_paths)],
        transport=transport,
        timeout=None if timeout is None else parse_seconds(timeout, "--timeout"),
        **{name: value for name, value in chosen.items() if value},
    ).run(lambda stopped: show_stop(ctx, KeyboardInterrupt(), _fields(stopped)))
    reported = _write_report(report, report_file) if report_file else None
    if not report.succeeded:
        logs = report.rows[0].log.parent
        hint = f"Read the logs of the participants in {logs}."
        error = RunError(f"the run failed: {report.problem}", hint=hint)
        if report.was_stopped:
            hint = "Start it again with `syft-flwr run`. " + hint
            error = RunError(f"the run was stopped: {report.problem}", hint=hint)
        if report.was_completed:
            error = RunError(f"the run was completed, but counts as a failure: {report.problem}", hint=hint)
        show_failure(ctx, error, _fields(report, reported))
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(_fields(report, reported))


def _check_report(path: Path) -> None:
    from syft_flwr.report.report_file import check_place
    from syft_flwr.report.svg import require_engine

    require_engine()
    check_place(path)


def _write_report(report: "Report", path: Path) -> Path | None:
    """Write the report of a run, and return its path. One that cannot be written does not change the result of the run."""
    from syft_flwr.errors import SyftFlwrError
    from syft_flwr.report.report_file import write_report

    try:
        written = write_report(report.recorded(), path)
    except SyftFlwrError as error:
        show_note(f"the report was not written: {error.diagnose()}")
        return None
    show_note(f"report: {written}")
    return written


def _fields(report: "Report", reported: Path | None = None) -> dict[str, Any]:
    """Return the fields of the JSON object for a run, successful or failed."""
    from syft_flwr.runs.record import record_path

    local = report.local
    return {
        "run-id": local.id,
        "local": local.name,
        "records": local.folder if report.has_records else None,
        "output": report.output,
        **({"report": reported} if reported else {}),
        "answers": report.answers,
        "failures": report.failures,
        "state": local.facts.state.value,
        "losses": [loss.as_fields() for loss in report.losses],
        "warnings": len(report.warnings),
        "last-warning": report.warnings[-1] if report.warnings else "",
        "trackers": dict(report.trackers),
        "first-cause": report.first.as_fields() if report.first else None,
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
                "record": record_path(local.records(row.participant), local.run, role) if report.has_records else None,
            }
            for row, role in zip(report.rows, (seat.role for seat in local.facts.seats), strict=True)
        ],
        **({"drive": [_usage(used) for used in report.usage]} if report.usage else {}),
    }


def _usage(used: "Usage") -> dict[str, Any]:
    """Return the JSON fields for the use of Google Drive by one account."""
    return {
        "email": used.email,
        "calls": used.calls,
        "requests": used.requests,
        "units": used.units,
        "bytes-up": used.bytes_up,
        "bytes-down": used.bytes_down,
    }
