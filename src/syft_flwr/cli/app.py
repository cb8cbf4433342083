"""Builds the command line from the modules of its commands."""

from typing import Annotated

import typer

from syft_flwr.cli import (
    bootstrap_command,
    config_command,
    gc_command,
    login_command,
    peers_command,
    run_command,
    runs_command,
    start_commands,
    version_command,
)
from syft_flwr.cli.exits import CommandGroup

app = typer.Typer(
    name="syft-flwr",
    cls=CommandGroup,
    help="Federated learning with Flower over synced folders or Google Drive: no server, no open port.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would print private data and keys.
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=version_command.show_and_exit, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Federated learning with Flower over synced folders or Google Drive: no server, no open port."""


app.command("bootstrap")(bootstrap_command.bootstrap_project)
app.command("run")(run_command.run_project)
app.command("server")(start_commands.start_server)
app.command("client")(start_commands.start_client)
app.command("runs")(runs_command.show_runs)
app.command("gc")(gc_command.collect)
app.command("login")(login_command.log_in)
app.command("version")(version_command.show_version)
app.add_typer(config_command.commands, name="config")
app.add_typer(peers_command.commands, name="peers")
