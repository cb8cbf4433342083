"""The calls of the aggregator: run a Flower ``ServerApp`` over files, and always end the run."""

import os
import secrets
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from syft_flwr._store.states import RunState
from syft_flwr.config import Settings, load_settings
from syft_flwr.config.run_config import RunConfig, with_overrides
from syft_flwr.config.user_config import UserConfigValue, checked_user_config
from syft_flwr.errors import ConfigError, SyftFlwrError
from syft_flwr.fl_orchestrator.contract_check import require_components, require_context
from syft_flwr.fl_orchestrator.ended_run import EndedRun
from syft_flwr.fl_orchestrator.import_path import without_current_folder
from syft_flwr.fl_orchestrator.participant import Participant, open_participant, require_participant
from syft_flwr.fl_orchestrator.project import FlowerProject
from syft_flwr.fl_orchestrator.syft_grid import SyftGrid
from syft_flwr.flower import SUPERLINK_NODE_ID, Run, log_to_console, with_checked_components
from syft_flwr.live.followed_run import FollowedRun, showing
from syft_flwr.log import logger, quiet_default_sink
from syft_flwr.runs.outcome import end_of
from syft_flwr.runs.subscriber import OnEvent
from syft_flwr.tracking.tracked_run import TrackedRun, tracking
from syft_flwr.tracking.tracker_packages import require_trackers

#: Called with a run that a signal stops.
OnStop = Callable[[EndedRun], object]


def new_run_id() -> int:
    """Return a random positive 63-bit id for a run. Grid, context, messages, logs and folders use the same id."""
    return secrets.randbelow((1 << 63) - 1) + 1


def syftbox_flwr_server(
    server_app: ServerApp,
    context: Context,
    datasites: Iterable[str],
    app_name: str,
    project_dir: str | Path | None = None,
    *,
    client: Participant | None = None,
    raise_on_error: bool = False,
    fresh: bool = False,
    on_event: OnEvent | None = None,
    overridden: Iterable[str] = (),
    strict: bool | None = None,
    display: bool | None = None,
) -> Context:
    """Run a federation: start the run, call ``server_app``, and always send a stop at the end.

    If an earlier process was killed in the middle of a run of this app, that run continues. The ServerApp starts from its
    beginning. A request with the same recipient, type, group and content as before gets the kept reply, so no data owner
    works twice for it.

    Args:
        server_app: any Flower ``ServerApp``, with ``server_fn`` or ``@app.main()``.
        context: the context of the app; this call sets its run id and node id. Its ``run_config`` travels with each
            request, and replaces values of the projects of the data owners.
        datasites: the data owners' emails.
        app_name: the name that all participants share.
        project_dir: the folder with the project's ``pyproject.toml``, for settings.
        client: the participant; by default from the settings.
        fresh: start a new run, even if an earlier one was interrupted.
        on_event: called with each entry of the record of the run; see :class:`SyftGrid`.
        raise_on_error: raise RunError if the run failed: the app raised an exception or ended itself with an exit
            code other than 0, or a kind of message got no good reply. If False, the failure is in the log and in the
            record of the run, and the call returns.
        overridden: the keys of ``run_config`` that replace values of the project. If there are none, a run that continues
            gets the replaced values with which it was started.
        strict: with ``raise_on_error``, a failed request is a failure of the run; by default from the settings.
        display: show the run while it lasts: a table in a terminal and in a notebook, lines elsewhere; by default from the
            settings. It names the id of the run, with which :func:`syft_flwr.open_run` returns the run.

    Returns:
        ``context``, with the state that the app left in it.

    Raises:
        ConfigError, StoreError, TransportError: the run cannot start.
        RunError: the run failed, and ``raise_on_error`` is set.
    """
    require_participant(client, "syftbox_flwr_server()")
    require_context(context)
    config = RunConfig(checked_user_config(context.run_config, "run_config of the context"), tuple(overridden))
    settings = client.settings if client else load_settings(project_dir, app_name=app_name)
    is_strict = settings.strict if strict is None else strict
    require_trackers(settings.tracking, os.environ)
    with quiet_default_sink(), _opened(client, settings, datasites) as participant:
        grid = SyftGrid(app_name, datasites, participant, on_event=on_event, strict=is_strict)
        is_shown = participant.settings.display if display is None else display
        ended = _federate(server_app, context, config, grid, participant, fresh, display=is_shown)
    if raise_on_error:
        ended.require_success(strict=is_strict)
    return ended.context


@contextmanager
def _opened(client: Participant | None, settings: Settings, datasites: Iterable[str]) -> Iterator[Participant]:
    if client:
        yield client
        return
    participant = open_participant(settings, peers=datasites)
    try:
        yield participant
    finally:
        participant.transport.close()


def _federate(
    server_app: ServerApp,
    context: Context,
    config: RunConfig,
    grid: SyftGrid,
    participant: Participant,
    fresh: bool,
    on_stop: OnStop = lambda _: None,
    *,
    display: bool,
) -> EndedRun:
    log_to_console()
    home = participant.app_home(grid.app_name)
    run = FollowedRun(home, grid.app_name, "aggregator", participant.email, participant.clock)
    settings, environ = participant.settings, without_current_folder(os.environ)
    tracked = TrackedRun(
        settings.tracking,
        home,
        grid.app_name,
        participant.email,
        settings.tensorboard_folder,
        environ,
        participant.clock,
    )
    # Around the grid, so that the display and the trackers get the end of the run, too.
    with tracking(tracked), showing(run, is_on=display), grid:
        ended = _run(server_app, context, config, grid, (run.begin, tracked.begin), fresh=fresh, on_stop=on_stop)
    # The last line, after those about the stop.
    ended.log()
    return ended


def _choose_run(grid: SyftGrid, config: RunConfig, *, fresh: bool) -> tuple[int, RunConfig]:
    """Return the id and the configuration of the run; ConfigError if a run would continue with another configuration."""
    interrupted = None if fresh else grid.interrupted_run()
    if interrupted is None:
        return new_run_id(), config
    if interrupted.config:
        before = RunConfig.decode(interrupted.config)
        config = before.continued(config)
        # Here, because no stop must be sent for a run that does not continue.
        before.require_same(config.values, interrupted.run)
    last_round = grid.last_round(interrupted.run)
    where = f" in round {last_round}" if last_round else ""
    logger.warning(
        "run {} was interrupted{} and continues: a request with a kept reply is not sent again. To start a new run "
        "instead, use --fresh (in Python: fresh=True)",
        interrupted.run,
        where,
    )
    return interrupted.run, config


def _run(
    server_app: ServerApp,
    context: Context,
    config: RunConfig,
    grid: SyftGrid,
    on_begin: Iterable[Callable[[int], object]],
    *,
    fresh: bool,
    on_stop: OnStop,
) -> EndedRun:
    run_id, config = _choose_run(grid, config, fresh=fresh)
    context.run_id, context.node_id, context.run_config = run_id, SUPERLINK_NODE_ID, dict(config.values)
    raised: BaseException | None = None
    try:
        grid.set_run(replace(Run.create_empty(run_id), override_config=config.values), overridden=config.overridden)
        for begin in on_begin:
            begin(run_id)
        logger.info("run {} starts ({})", run_id, grid.app_name)
        with grid.following_strategies():
            with_checked_components(server_app, require_components)(grid, context)
    except BaseException as error:
        raised = error
        if end_of(error).interruption or isinstance(error, SyftFlwrError):
            raise
        if not isinstance(error, SystemExit):
            # The traceback shows which replies did not fit.
            grid.end_of(error)
            text = "run {} ({}): the ServerApp raised {}; correct it, then start the server again:\n{}"
            logger.error(text, run_id, grid.app_name, type(error).__name__, traceback.format_exc())
    finally:
        outcome = grid.decide_end(grid.end_of(raised))
        if outcome.state is RunState.STOPPED:
            on_stop(EndedRun(run_id, grid.app_name, outcome, context, raised))
        grid.send_stop_signal()
    return EndedRun(run_id, grid.app_name, outcome, context, raised)


def run_server(
    project_dir: str | Path,
    *,
    fresh: bool = False,
    run_config: Mapping[str, UserConfigValue] | str | None = None,
    strict: bool | None = None,
    display: bool | None = None,
) -> Context:
    """Run the ServerApp of a project as its aggregator, with its settings and its ``[tool.flwr.app]``.

    Args:
        project_dir: the folder with the project's ``pyproject.toml``.
        fresh: start a new run, even if an earlier one was interrupted.
        run_config: values that replace those of ``[tool.flwr.app.config]``: a mapping, or a text in Flower's syntax; by
            default, those of the setting ``run_config_overrides``. A run that continues after a crash keeps its values.
        strict: a failed request is a failure of the run; by default from the settings.
        display: show the run while it lasts, as :func:`syftbox_flwr_server`; by default from the settings.

    Returns:
        The context, with the state that the app left in it.

    Raises:
        SyftFlwrError: the settings are wrong, or the run failed.
    """
    settings = load_settings(project_dir, strict=strict)
    with quiet_default_sink("INFO"):
        ended = serve_project(project_dir, fresh=fresh, run_config=run_config, strict=strict, display=display)
    ended.require_success(strict=settings.strict)
    return ended.context


def serve_project(
    project_dir: str | Path,
    *,
    fresh: bool = False,
    run_config: Mapping[str, UserConfigValue] | str | None = None,
    strict: bool | None = None,
    display: bool | None = None,
    on_stop: OnStop = lambda _: None,
) -> EndedRun:
    """Run the ServerApp of a project, as :func:`run_server`, and return the run also if it failed.

    ``on_stop`` is called with a run that Ctrl-C or SIGTERM stops, before the exception of the signal continues.

    Raises:
        SyftFlwrError: the settings are wrong, or the run could not start.
    """
    project = FlowerProject.load(project_dir)
    settings = load_settings(project_dir, run_config_overrides=run_config, strict=strict)
    overrides = settings.run_config_overrides
    config = RunConfig(with_overrides(project.run_config, overrides), tuple(overrides))
    email, aggregator = settings.require("email"), settings.require("aggregator")
    if email != aggregator:
        raise ConfigError(
            f"email: {email} is not the aggregator of this project ({aggregator}), so no data owner would serve it",
            hint="Run the client here, or name this email as the aggregator in every participant's project.",
        )
    datasites, app_name = settings.require("datasites"), settings.require("app_name")
    require_trackers(settings.tracking, os.environ)
    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    with project.loaded_server_app() as server_app, _opened(None, settings, datasites) as participant:
        grid = SyftGrid(app_name, datasites, participant)
        is_shown = settings.display if display is None else display
        return _federate(server_app, context, config, grid, participant, fresh, on_stop, display=is_shown)
