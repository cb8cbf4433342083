"""``syft-flwr track``: give the metrics of a recorded run to TensorBoard and MLflow again."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syft_flwr.cli.arguments import EmailOption, current_project, split_lists
from syft_flwr.cli.completion import complete_runs
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json, show_text
from syft_flwr.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syft_flwr.errors import RunError
    from syft_flwr.runs.recorded_run import RecordedRun
    from syft_flwr.tracking.late_tracking import Delivery

#: Seconds for a call to MLflow: no run waits for it.
_TIMEOUT = "60"


def track_run(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run id, or the name of a local run; by default the latest run of an aggregator on this machine.",
            autocompletion=complete_runs,
        ),
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            "--tracker",
            metavar="tensorboard|mlflow",
            help="The tracker. Repeat it for more; by default those of the setting tracking, or those that the run had.",
        ),
    ] = None,
    email: EmailOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Give the metrics of a run to TensorBoard or MLflow again, from the record of its aggregator.

    A tracker that missed metrics of the run gets them, and one that the run did not have gets all.
    A point that it has is not doubled, and a run that has ended gets its end there.
    A run that still runs is given as it is now.
    The exit code is 1 if a tracker did not get all points.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.config.values import parse_trackers
    from syft_flwr.errors import ConfigError
    from syft_flwr.runs.finding import find_run
    from syft_flwr.runs.watched_run import latest_run
    from syft_flwr.tracking.late_tracking import LateTracking
    from syft_flwr.tracking.mlflow_tracker import ENVIRONMENT
    from syft_flwr.tracking.places import place_of
    from syft_flwr.tracking.tracker_packages import require_trackers

    start_logging()
    settings = load_settings(current_project(), email=email)
    chosen = parse_trackers(split_lists(tracker), "--tracker") if tracker else settings.tracking
    if run is None:
        run, _ = latest_run(settings, role="aggregator", email=email)
    found = find_run(settings, run, email=email)
    late = LateTracking(found, settings.tensorboard_folder)
    names = chosen or late.names
    if not names:
        raise ConfigError(
            f"no tracker is named, and run {found.id} had none",
            hint=f"Name one: syft-flwr track {found.id} --tracker tensorboard, or set tracking in the project.",
        )
    require_trackers(names, os.environ)
    for name, value in ({**ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT": _TIMEOUT} if "mlflow" in names else {}).items():
        os.environ.setdefault(name, value)
    deliveries = late.give(names)
    places = {name: place_of(name, late.folder, os.environ) for name in names}
    if problems := [each for each in deliveries if each.problem]:
        _show(deliveries, places, output)
        show_failure(ctx, _error(found, problems), _fields(found, deliveries, places))
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(_fields(found, deliveries, places))
    else:
        _show(deliveries, places, output)


def _show(deliveries: "list[Delivery]", places: "Mapping[str, str]", output: Format) -> None:
    """Print a line for each tracker that has all points."""
    from syft_flwr.tracking.places import TITLES, shown_place

    for each in deliveries if output is Format.TABLE else ():
        if not each.problem:
            told = f"it got {counted(each.new, 'new point')}" if each.new else "it had all points already"
            show_text(f"{TITLES[each.name]}: {told}: {shown_place(each.name, places[each.name])}")


def _error(run: "RecordedRun", problems: "list[Delivery]") -> "RunError":
    from syft_flwr.errors import RunError

    advice = "; ".join(dict.fromkeys(each.advice for each in problems))
    kept = f" {run.paths.metrics_csv} has all metrics." if run.paths.metrics_csv else ""
    return RunError(
        f"trackers miss metrics of run {run.id}: {'; '.join(each.problem for each in problems)}",
        hint=f"{advice[:1].upper()}{advice[1:]}. Then start `syft-flwr track {run.id}` again.{kept}",
    )


def _fields(run: "RecordedRun", deliveries: "list[Delivery]", places: "Mapping[str, str]") -> dict[str, Any]:
    return {
        "run-id": run.id,
        "participant": run.participant,
        "state": run.state,
        "trackers": [
            {
                "tracker": each.name,
                "place": places[each.name],
                "new-points": each.new,
                "complete": not each.problem,
                "reason": each.reason,
            }
            for each in deliveries
        ],
    }
