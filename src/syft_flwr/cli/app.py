"""The tree of commands."""

from typing import Annotated

import typer

from syft_flwr.cli import bootstrap, config, gc, login, participant, peers, run, runs, version
from syft_flwr.cli.exits import CommandGroup

app = typer.Typer(
    name="syft-flwr",
    cls=CommandGroup,
    help="Federated learning with Flower over synced folders or Google Drive: no server, no open port.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    # A traceback with the values of local variables would print private data and keys.
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", "-V", callback=version.show_and_exit, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federated learning with Flower over synced folders or Google Drive: no server, no open port."""


app.command("bootstrap")(bootstrap.bootstrap_project)
app.command("run")(run.run_project)
app.command("server")(participant.start_server)
app.command("client")(participant.start_client)
app.command("runs")(runs.list_runs)
app.command("gc")(gc.collect)
app.command("login")(login.log_in)
app.command("version")(version.show_version)
app.add_typer(config.commands, name="config")
app.add_typer(peers.commands, name="peers")
