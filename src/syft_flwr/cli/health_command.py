"""``syft-flwr health``: tell a probe whether the client or the server of this participant works."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from click import BadParameter

from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json, show_text
from syft_flwr.errors import RunError, SyftFlwrError

if TYPE_CHECKING:
    from syft_flwr.config import Settings
    from syft_flwr.runs.health import ProcessHealth

#: The set of processes in which a process of the host sees all others. Its number is a constant of Linux.
_ALL_PROCESSES = "pid:[4026531836]"


def _a_number(seconds: float) -> float:
    # Each comparison with it is False, so no process would ever stand still.
    if math.isnan(seconds):
        raise BadParameter("nan is not a time.")
    return seconds


def probe(
    ctx: typer.Context,
    projects: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PROJECT]...",
            help="Folders of projects, each of which must be served; by default the current folder, or else each app that runs.",
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Fail only if a restart would help: no process runs, or it stands still."),
    ] = False,
    patience: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            callback=_a_number,
            help="Time beyond the announced next look at the files (client), or without a write to its record (server), that counts as "
            "a standstill.",
        ),
    ] = 60.0,
    output: FormatOption = Format.TABLE,
) -> None:
    """Tell whether the client or the server of this participant works: exit code 0, otherwise 1.

    A client works if its process runs, looks at its files in time, and could write its heartbeat.
    A server works if its process runs and has written to its record in time.
    With --live, a process that is starting or that is cut off from the others counts, too.
    The command takes no lock, writes nothing, and asks no other machine.
    """
    try:
        found = _look(projects or [], patience)
    except SyftFlwrError as error:
        # Not the exit code 2, which Docker reserves.
        show_failure(ctx, error)
        raise typer.Exit(ExitCode.FAILED) from error
    wrong = [each for each in found if not (each.is_live if live else each.is_ready)]
    fields = {"processes": [each.as_fields() for each in found]}
    if wrong:
        show_failure(ctx, RunError(f"not healthy: {wrong[0].text}", hint=wrong[0].next_step), fields)
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(fields)
    else:
        show_text("\n".join(f"healthy: {each.text}" for each in found))


def _look(projects: list[Path], patience: float) -> "list[ProcessHealth]":
    from syft_flwr.cli.arguments import current_project
    from syft_flwr.config import load_settings
    from syft_flwr.runs.health import NOT_RUNNING, ProcessHealth, find_health, started_apps

    named = projects or list(filter(None, [current_project()]))
    known = [load_settings(project) for project in named]
    if not projects and not all(settings.app_name for settings in known):
        # The current folder has a pyproject.toml of another program.
        known = []
    found: list[ProcessHealth] = []
    for settings in known:
        app = settings.require("app_name")
        found += find_health(settings.require("home"), app, patience, _stopped_sync(settings))
    if not known:
        settings = load_settings()
        home, obstacle = settings.require("home"), _stopped_sync(settings)
        found = [each for app in started_apps(home) for each in find_health(home, app, patience, obstacle)]
        found = [each for each in found if each.state != NOT_RUNNING]
    return found or [ProcessHealth("", "", NOT_RUNNING, "no client and no server of this participant runs")]


def _stopped_sync(settings: "Settings") -> str:
    """Return that the SyftBox client of this machine has stopped; empty if it runs, or if this process could not see it."""
    from syft_flwr.transport._syftbox.daemon import absence_at

    return str(absence_at(settings) or "") if _sees_all_processes() else ""


def _sees_all_processes() -> bool:
    """Return whether this process sees those of the whole machine, and their locks: not in a container."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _ALL_PROCESSES
    except OSError:
        # A system without containers.
        return True
