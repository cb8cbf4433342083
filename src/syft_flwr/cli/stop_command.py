"""``syft-flwr stop``: ask the process of a run to end it, and wait until it has."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import EmailOption, RoleOption, current_project, role_of
from syft_flwr.cli.completion import complete_runs
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_text
from syft_flwr.text import role_word

if TYPE_CHECKING:
    from pathlib import Path

    from syft_flwr.runs.stop_request import StopRequest
    from syft_flwr.runs.view import RunView
    from syft_flwr.runs.watched_run import WatchedRun

#: Seconds between two looks, and the longest wait by default.
_EVERY, _WAIT = 0.25, 60.0
#: The longest wait for an event that tells the process. A living one writes a beat every 5 seconds.
_UNTIL_KNOWN = 10.0
_LOCAL = "A local run does not continue. Start it again: syft-flwr run"


def stop_run(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run: an id, or the name of a local run.", autocompletion=complete_runs),
    ],
    role: RoleOption = None,
    email: EmailOption = None,
    wait: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Wait this long for the end of the run.")
    ] = _WAIT,
    output: FormatOption = Format.TABLE,
) -> None:
    """Stop a run from another shell: write a file that its process looks for once a second, and wait for its end.

    A server ends as with Ctrl-C, and tells the data owners.
    At a data owner, only this run ends here: with --keep, its client serves the next one.
    A local run ends with all its processes.
    The exit code is 1 if the run has not ended.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.runs.watched_run import WatchedRun

    start_logging()
    watched = WatchedRun(load_settings(current_project(), email=email), run, role=role_of(role), email=email)
    view, was_open = watched.look(), False
    if view.is_open:
        was_open = True
        home, request = _request(watched, min(wait, _UNTIL_KNOWN))
        request.write(home)
        view = _wait_for_end(watched, view, wait)
        if not view.is_open:
            # Its process may have ended before it looked.
            request.withdraw(home)
    _require_end(view, wait, was_open=was_open)
    text = _how(view, was_open=was_open)
    if output is Format.JSON:
        shown = {"run-id": view.run, "role": role_word(view.role), "state": view.state, "cause": view.cause or None}
        show_json({**shown, "text": text})
    else:
        show_text(text)


def _request(watched: "WatchedRun", seconds: float) -> "tuple[Path, StopRequest]":
    """Return the request. The first event of a run, or one after the loss of its record, tells the process."""
    from syft_flwr.errors import RunError

    deadline = time.monotonic() + seconds
    while True:
        try:
            return watched.stop_request()
        except RunError:
            if time.monotonic() > deadline or not watched.is_served:
                raise
        time.sleep(_EVERY)


def _wait_for_end(watched: "WatchedRun", view: "RunView", seconds: float) -> "RunView":
    deadline = time.monotonic() + seconds
    while view.is_open and time.monotonic() < deadline:
        time.sleep(_EVERY)
        view = watched.look()
    return view


def _require_end(view: "RunView", wait: float, *, was_open: bool) -> None:
    """Raise RunError if the run has no end."""
    from syft_flwr.errors import RunError
    from syft_flwr.runs.local_run import INTERRUPTED
    from syft_flwr.runs.peer_view import SILENT

    if view.state == SILENT:
        raise RunError(
            f"run {view.run} was asked to stop, but its process stands still, and wrote nothing for {view.silence()}",
            hint="It ends when the process continues (SIGCONT, or its machine wakes up). To end it at once, kill it.",
        )
    if view.is_open:
        raise RunError(
            f"run {view.run} was asked to stop, but has not ended within {wait:g} s",
            hint=f"It may end later: look with `syft-flwr status {view.run}`, or wait longer with --wait.",
        )
    if view.state == INTERRUPTED and not was_open:
        raise RunError(
            f"run {view.run} is not served by a process, so there is no process to stop",
            hint=_LOCAL
            if view.is_local
            else "It is interrupted: the next start of its server or client continues it, and `syft-flwr server --fresh` "
            "begins another one.",
        )
    if view.state == INTERRUPTED:
        raise RunError(
            f"the process of run {view.run} has ended without an end of the run",
            hint=_LOCAL
            if view.is_local
            else "It was killed meanwhile: the next start of its server or client continues the run.",
        )


def _how(view: "RunView", *, was_open: bool) -> str:
    cause = f" ({view.cause})" if view.cause else ""
    if not was_open:
        return f"Run {view.run} had ended before: {view.state}{cause}."
    return f"Run {view.run} has ended: {view.state}{cause}."
