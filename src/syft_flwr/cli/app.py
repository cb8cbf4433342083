"""Builds the command line from the modules of its commands."""

from typing import Annotated

import typer

from syft_flwr.cli import (
    bootstrap_command,
    config_command,
    doctor_command,
    gc_command,
    health_command,
    login_command,
    logs_command,
    peers_command,
    report_command,
    run_command,
    runs_command,
    start_commands,
    status_command,
    stop_command,
    track_command,
    version_command,
)
from syft_flwr.cli.examples import examples
from syft_flwr.cli.exits import CommandGroup

app = typer.Typer(
    name="syft-flwr",
    cls=CommandGroup,
    help="Federated learning with Flower over synced folders or Google Drive: no server, no open port.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("syft-flwr run examples/diabetes -m data/do1 -m data/do2", "syft-flwr run --help"),
    no_args_is_help=True,
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


app.command(
    "bootstrap",
    epilog=examples("syft-flwr bootstrap project -a ds@research.org -d do1@hospital-a.org -d do2@hospital-b.org"),
)(bootstrap_command.bootstrap_project)
app.command(
    "run",
    epilog=examples(
        "syft-flwr run project -m data/do1/mock -m data/do2/mock",
        "syft-flwr run project -m data/do1/mock,data/do2/mock -c 'num-server-rounds=1' --format json",
    ),
)(run_command.run_project)
app.command("server", epilog=examples("syft-flwr server project", "syft-flwr server project --fresh --strict"))(
    start_commands.start_server
)
app.command(
    "client",
    epilog=examples(
        "syft-flwr client project", "syft-flwr client project other-project --keep --node-config 'partition-id=3'"
    ),
)(start_commands.start_client)
app.command(
    "runs",
    epilog=examples(
        "syft-flwr runs", "syft-flwr runs 1234567890", "syft-flwr runs 1234567890 --role data-owner --events"
    ),
)(runs_command.show_runs)
app.command(
    "logs",
    epilog=examples("syft-flwr logs --follow", "syft-flwr logs 1234567890 --role data-owner -n 50 --format json"),
)(logs_command.show_log)
app.command(
    "status",
    epilog=examples(
        "syft-flwr status", "syft-flwr status 1234567890 --watch", "syft-flwr status --role data-owner --format json"
    ),
)(status_command.show_status)
app.command(
    "report",
    epilog=examples(
        "syft-flwr report", "syft-flwr report 1234567890 --output report.html", "syft-flwr report --role data-owner"
    ),
)(report_command.write_run_report)
app.command(
    "track",
    epilog=examples(
        "syft-flwr track", "syft-flwr track 1234567890 --tracker mlflow", "syft-flwr track 1234567890 --format json"
    ),
)(track_command.track_run)
app.command(
    "stop", epilog=examples("syft-flwr stop 1234567890", "syft-flwr stop 1234567890 --role data-owner --wait 10")
)(stop_command.stop_run)
app.command("doctor", epilog=examples("syft-flwr doctor", "syft-flwr doctor project --format json"))(
    doctor_command.examine_participant
)
app.command(
    "health",
    epilog=examples("syft-flwr health", "syft-flwr health project --format json", "syft-flwr health project --live"),
)(health_command.probe)
app.command("gc", epilog=examples("syft-flwr gc --dry-run"))(gc_command.collect)
app.command(
    "login",
    epilog=examples(
        "syft-flwr login --client-secrets client.json",
        "syft-flwr login --client-secrets client.json --no-browser --port 8765",
        "syft-flwr login --check",
    ),
)(login_command.log_in)
app.command("version", epilog=examples("syft-flwr version --format json"))(version_command.show_version)
app.add_typer(config_command.commands, name="config")
app.add_typer(peers_command.commands, name="peers")
