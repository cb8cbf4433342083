"""``syft-flwr bootstrap``: prepare a Flower project for syft-flwr."""

from typing import Annotated

import typer

from syft_flwr.cli.arguments import ProjectArgument, TransportOption, split_lists
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_note, show_text


def bootstrap_project(
    project: ProjectArgument,
    aggregator: Annotated[
        str | None,
        typer.Option("-a", "--aggregator", "-s", "--server", metavar="EMAIL", help="Email of the aggregator."),
    ] = None,
    datasites: Annotated[
        list[str] | None,
        typer.Option(
            "-d",
            "--datasite",
            "--datasites",
            metavar="EMAIL",
            help="Email of a data owner. Repeat it, or separate emails by commas.",
        ),
    ] = None,
    transport: TransportOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Prepare the Flower project in the folder PROJECT for syft-flwr.

    Writes main.py and the table tool.syft_flwr of pyproject.toml.
    All other content stays. The command can be run again.
    A value that you leave out comes from the environment or from the project.
    """
    from syft_flwr._bootstrap import prepare_project
    from syft_flwr.config import load_settings

    start_logging()
    settings = load_settings(
        project,
        aggregator=aggregator,
        datasites=split_lists(datasites) if datasites else None,
        transport=transport,
    )
    done = prepare_project(project, settings.require("aggregator"), settings.require("datasites"), settings.transport)
    prepared = load_settings(done.folder)
    if output is Format.JSON:
        show_json(
            {
                name: getattr(prepared, name)
                for name in ("project_dir", "app_name", "aggregator", "datasites", "transport")
            }
            | ({"notes": done.notes} if done.notes else {})
        )
        return
    for note in done.notes:
        show_note(note)
    show_text(
        f"{done.folder} is ready as {prepared.app_name}: {prepared.aggregator} with {', '.join(prepared.datasites)}"
        f" over {prepared.transport}.\nEach participant, with syft-flwr installed, starts it with: python main.py"
    )
