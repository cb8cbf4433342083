"""``syft-flwr status``: show a run while it runs: the round, each participant, and when the wait ends."""

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syft_flwr.cli.arguments import EmailOption, RoleOption, current_project, role_of
from syft_flwr.cli.completion import complete_runs
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, pause, show_json, show_json_line, show_table, show_text

if TYPE_CHECKING:
    from syft_flwr.config import Settings
    from syft_flwr.runs.view import RunView
    from syft_flwr.runs.watched_run import WatchedRun

#: Seconds between two looks.
_EVERY = 1.0
#: Fields that change without news: the times of a look and of heartbeats.
_TIMES = ("time", "updated", "last-seen", "since", "awaited-since")


def show_status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run id, or the name of a local run; by default the latest run of this participant, else of this machine.",
            autocompletion=complete_runs,
        ),
    ] = None,
    role: RoleOption = None,
    email: EmailOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show each change until the run ends.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show a run while it runs: its state and round, each participant, and when the wait ends by which limit.

    It reads the record of the run, on the side of the aggregator and of a data owner, and for local runs.
    A run whose process has written nothing for 15 seconds is silent.
    With --watch and --format json, the output is JSON Lines.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.runs.watched_run import WatchedRun, latest_run

    start_logging()
    settings, side = load_settings(current_project(), email=email), role_of(role)
    if run is None:
        run, side = latest_run(settings, role=side, email=email)
    watched = WatchedRun(settings, run, role=side, email=email, obstacle=lambda: _stopped_sync(settings))
    if not watch:
        _show(watched.look(), output)
    elif output is Format.JSON:
        for view in _changes(watched):
            show_json_line(view.as_fields())
    elif sys.stdout.isatty():
        _show_live(watched)
    else:
        for number, view in enumerate(_changes(watched)):
            if number:
                show_text("")
            _show(view, output)


def _stopped_sync(settings: "Settings") -> str:
    """Return that the SyftBox client of this machine has stopped, with the next step; empty if it runs."""
    from syft_flwr.transport._syftbox.daemon import absence_at

    absence = absence_at(settings)
    return f"{absence}. {absence.hint}" if absence else ""


def _show(view: "RunView", output: Format) -> None:
    from syft_flwr.runs.peer_view import COLUMNS

    if output is Format.JSON:
        show_json(view.as_fields())
        return
    for line in filter(None, (view.headline(), view.wait(), view.warning(), *view.notes())):
        show_text(line)
    if view.peers:
        show_table("Participants", COLUMNS, [peer.as_row(view.now) for peer in view.peers])
    if metrics := view.latest_metrics():
        show_text(f"Metrics: {metrics}")


def _looks(watched: "WatchedRun") -> "Iterator[RunView]":
    """Yield a view at once and then each second; the last one is that of the end of the run."""
    while True:
        began = time.monotonic()
        view = watched.look()
        yield view
        if not view.is_open:
            return
        pause(max(0.0, began + _EVERY - time.monotonic()))


def _changes(watched: "WatchedRun") -> "Iterator[RunView]":
    last: Any = None
    for view in _looks(watched):
        # The metrics are those of the account, which grows.
        content = json.dumps(_without_times(view.as_fields()), default=str)
        if content != last:
            last = content
            yield view


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(each) for name, each in value.items() if name not in _TIMES}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _show_live(watched: "WatchedRun") -> None:
    """Show a table that changes in place, and stays at the end."""
    from rich.console import Console
    from rich.live import Live

    from syft_flwr.live.terminal import panel_table
    from syft_flwr.runs.panel import panel_of

    console = Console()
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        for view in _looks(watched):
            live.update(panel_table(console, panel_of(view), every_row=not view.is_open), refresh=True)
