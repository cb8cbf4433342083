"""``syft-flwr server`` and ``syft-flwr client``: take part in a run as aggregator or data owner until it ends."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from click import UsageError

from syft_flwr.cli.arguments import LogFileOption, ProjectArgument, RunConfigOption, StrictOption
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json, show_stop, show_text
from syft_flwr.cli.service_command import ServiceOptions, install_service, uninstall_service

if TYPE_CHECKING:
    from syft_flwr.fl_orchestrator.ended_run import EndedRun


def start_server(
    ctx: typer.Context,
    project: ProjectArgument = Path(),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a new run, even if an earlier one was interrupted.")
    ] = False,
    run_config: RunConfigOption = None,
    strict: StrictOption = False,
    log_file: LogFileOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run the ServerApp of the project in the folder PROJECT (default: the current folder) as its aggregator.

    After a crash, the interrupted run continues.
    A request with a kept reply is not sent again.
    The run keeps its run configuration.
    The exit code is 1 if the run failed, or if a kind of message got no good reply.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.config.user_config import parse_user_config
    from syft_flwr.shutdown import ending_quietly

    start_logging(keep_runs=True, log_file=log_file)
    stopped: list[EndedRun] = []
    with ending_quietly(), _telling_a_stop(ctx, "server", stopped):
        from syft_flwr.fl_orchestrator.flower_server import serve_project
        from syft_flwr.logbook.own_prints import copying_prints

        overrides = parse_user_config(run_config, "--run-config") if run_config else None
        is_strict = load_settings(project, strict=strict or None).strict
        with copying_prints():
            ended = serve_project(project, fresh=fresh, run_config=overrides, strict=is_strict, on_stop=stopped.append)
    fields = {"role": "server", **ended.as_fields()}
    if problem := ended.problem(strict=is_strict):
        show_failure(ctx, problem, fields)
        raise typer.Exit(ExitCode.FAILED)
    _show_end(fields, f"Run {ended.run_id} {ended.outcome.summary}", output)


def start_client(
    ctx: typer.Context,
    projects: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PROJECT]...", help="Folders of Flower projects; by default the current one."),
    ] = None,
    node_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAIRS",
            help="Values for context.node_config of the app, such as 'partition-id=3 data-dir=\"/data\"', or the path of "
            "one .toml file. Repeat it for more pairs. Put secrets into a file.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay after the end of a run, and serve the next one, until a signal.")
    ] = False,
    log_file: LogFileOption = None,
    install: Annotated[
        bool,
        typer.Option(
            "--install-service",
            help="Write a systemd unit that runs this command with --keep as a service of this user, and do not start it.",
        ),
    ] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall-service", help="Delete this unit.")] = False,
    service_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The end of the unit's name; by default the name of the app."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace or delete a unit that a person edited or another program wrote.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Serve the aggregator with the ClientApp of the project in the folder PROJECT (default: the current folder).

    The client ends when the aggregator sends a stop.
    With --keep, it serves run after run.
    It can serve several projects at once, each until its own stop.
    With --install-service, it writes a unit instead, and prints the commands that start it.
    """
    from syft_flwr.config.user_config import parse_user_config
    from syft_flwr.shutdown import ending_quietly

    if install != uninstall:
        options = ServiceOptions(projects or [Path()], service_name, force, output)
        start_logging()
        if install:
            install_service(options, node_config, log_file)
        else:
            uninstall_service(options)
        return
    if install or service_name is not None or force:
        raise UsageError("--service-name and --force need either --install-service or --uninstall-service.")
    start_logging(keep_runs=True, log_file=log_file)
    with ending_quietly(), _telling_a_stop(ctx, "client"):
        from syft_flwr.fl_orchestrator import run_clients

        values = None if node_config is None else parse_user_config(node_config, "--node-config")
        run_clients(projects or [Path()], node_config=values, keep=keep or None)
    _show_end({"role": "client"}, "The client has finished.", output)


@contextmanager
def _telling_a_stop(ctx: typer.Context, role: str, stopped: "Sequence[EndedRun]" = ()) -> Iterator[None]:
    """Print the JSON object of a participant that a signal ends, with the runs that it stopped."""
    from syft_flwr.shutdown import Terminated

    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        show_stop(ctx, error, {"role": role, **(stopped[-1].as_fields() if stopped else {})})
        raise


def _show_end(fields: dict[str, Any], text: str, output: Format) -> None:
    if output is Format.JSON:
        show_json(fields)
    else:
        show_text(text)
