"""``syft-flwr server`` and ``syft-flwr client``: take one part in a run, until it ends."""

from pathlib import Path
from typing import Annotated

import typer

from syft_flwr.cli.arguments import ProjectArgument
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_text


def start_server(
    project: ProjectArgument = Path(),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a new run, even if there is one that was interrupted.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run the ServerApp of the project in the folder PROJECT, by default the current one, as its aggregator.

    A run that was interrupted by a crash goes on: what was answered is not asked again.
    """
    from syft_flwr.shutdown import ending_quietly

    start_logging()
    with ending_quietly():
        from syft_flwr.fl_orchestrator import run_server

        run_server(project, fresh=fresh)
    _show_end("server", output)


def start_client(
    projects: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PROJECT]...", help="Folders of Flower projects; by default the current one."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Serve the aggregator with the ClientApp of the project in the folder PROJECT, by default the current one.

    Ends when the aggregator says stop. Given several projects, it serves all of them at once, each until its own end.
    """
    from syft_flwr.shutdown import ending_quietly

    start_logging()
    with ending_quietly():
        from syft_flwr.fl_orchestrator import run_clients

        run_clients(projects or [Path()])
    _show_end("client", output)


def _show_end(role: str, output: Format) -> None:
    if output is Format.JSON:
        show_json({"role": role})
    else:
        show_text(f"The {role} has finished.")
