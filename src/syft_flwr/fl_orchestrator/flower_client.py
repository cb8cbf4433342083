"""The calls of a data owner: serve requests of the aggregator with a Flower ``ClientApp``.

A participant has one client for each app. The app runs in a separate worker process.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp

from syft_flwr.clock import SIGNAL_DELAY
from syft_flwr.config import Settings, load_settings
from syft_flwr.config.user_config import checked_user_config
from syft_flwr.emails import normalise
from syft_flwr.errors import ConfigError, SyftFlwrError
from syft_flwr.fl_orchestrator.client import ClientSetup
from syft_flwr.fl_orchestrator.contract_check import require_context
from syft_flwr.fl_orchestrator.node_config import node_config_of
from syft_flwr.fl_orchestrator.participant import Participant, open_participant, require_participant
from syft_flwr.fl_orchestrator.project import FlowerProject
from syft_flwr.fl_orchestrator.serving import Serving, open_serving
from syft_flwr.log import logger, quiet_default_sink
from syft_flwr.runs.subscriber import OnEvent

#: The argument ``node_config``, see :func:`run_client`.
NodeConfig = Mapping[str, Any] | Sequence[str] | str


def syftbox_flwr_client(
    client_app: ClientApp | str,
    context: Context,
    app_name: str,
    project_dir: str | Path | None = None,
    *,
    client: Participant | None = None,
    aggregator: str | None = None,
    on_event: OnEvent | None = None,
    keep: bool | None = None,
) -> None:
    """Serve one aggregator until its run stops, or run after run with ``keep``. Blocks; Ctrl-C ends it cleanly.

    Args:
        client_app: a Flower ``ClientApp``, or a reference ``module:attribute`` to one in ``project_dir``.
        context: its ``node_config``, the initial state of a new run, and the ``run_config`` of this data owner. Values
            that the aggregator sends replace those of ``run_config``, except for the settings ``run_config=own`` and
            ``run_config_pins``. The app also finds the setting ``node_config`` there, and ``partition-id`` and
            ``num-partitions`` by the position of this participant in the setting ``datasites``.
        app_name: the name that all participants share.
        project_dir: the folder with the project's ``pyproject.toml``, for settings and imports.
        client: the participant; by default from the settings.
        aggregator: the only participant that is served; by default from the settings.
        on_event: called with each entry of the records of the runs, in a thread of its own. It can neither stop nor delay
            a run: exceptions and entries that it is too slow for are counted.
        keep: stay after the end of a run, and serve the next one; by default from the settings.

    Raises:
        ConfigError: the participant or the aggregator is not set, or a setting is wrong.
        StoreError: another client of this app runs here, or a private file cannot be used.
        TransportError: the transport cannot be opened.
    """
    require_participant(client, "syftbox_flwr_client()")
    require_context(context)
    settings = load_settings(project_dir, app_name=app_name, aggregator=aggregator, keep=keep)
    own = client.settings if client else settings
    run_config = checked_user_config(context.run_config, "run_config of the context")
    listed = own.datasites or settings.datasites
    config = node_config_of(own.require("email"), listed, own.node_config, context.node_config)
    own_context = Context(context.run_id, context.node_id, config, context.state, run_config)
    stays = settings.keep if client is None or keep is not None else own.keep
    participant = client or open_participant(settings, peers=filter(None, [settings.aggregator]))
    try:
        served = normalise(settings.require("aggregator"), what="aggregator")
        setup = ClientSetup(client_app, own_context, app_name, project_dir, participant, served, stays)
        with quiet_default_sink(), open_serving(setup, on_event) as opened:
            opened.serve()
    finally:
        if client is None:
            participant.transport.close()


def run_client(project_dir: str | Path, *, node_config: NodeConfig | None = None, keep: bool | None = None) -> None:
    """Serve as a data owner of a project until its run stops, or run after run with ``keep``. Blocks.

    Args:
        project_dir: the folder with the project's ``pyproject.toml``; its settings and ``[tool.flwr.app]`` are used.
        node_config: values for ``context.node_config`` of the app: a dict, a text in the syntax of Flower such as
            ``'partition-id=3 db-url="..."'``, a list of texts, or the path of one ``.toml`` file. It replaces
            SYFT_FLWR_NODE_CONFIG.
        keep: stay after the end of a run, and serve the next one. It replaces SYFT_FLWR_KEEP.

    Raises:
        SyftFlwrError: the settings are wrong, or the client cannot be started.
    """
    part = _Part.load(project_dir, node_config, keep)
    participant = open_participant(part.settings)
    try:
        with quiet_default_sink("INFO"), open_serving(part.setup(participant)) as opened:
            opened.serve()
    finally:
        participant.transport.close()


def run_clients(
    project_dirs: Sequence[str | Path], *, node_config: NodeConfig | None = None, keep: bool | None = None
) -> None:
    """Serve as a data owner of several projects at once, each until its own run stops. Blocks.

    Each app has its own lock, databases, worker process and folders. All share the keys and one transport.

    Args:
        project_dirs: the folders of the projects, at least one.
        node_config: as in :func:`run_client`, for the apps of all projects.
        keep: as in :func:`run_client`, for all projects.

    Raises:
        ConfigError: the settings of a project are wrong, or two projects have the same app name.
        SyftFlwrError: one project could not be served; raised after the other projects have ended.
    """
    if len(project_dirs) == 1:
        run_client(project_dirs[0], node_config=node_config, keep=keep)
        return
    parts = _load_parts(project_dirs, node_config, keep)
    aggregators = {part.settings.require("aggregator") for part in parts}
    # Without an app name, because the transport serves all apps.
    participant = open_participant(replace(parts[0].settings, app_name=None), peers=sorted(aggregators))
    try:
        with quiet_default_sink("INFO"):
            _serve_together(parts, participant)
    finally:
        participant.transport.close()


def checked_projects(
    project_dirs: Sequence[str | Path], *, node_config: NodeConfig | None = None, keep: bool | None = None
) -> list[Settings]:
    """Return the settings with which :func:`run_clients` would serve these projects.

    Raises:
        ConfigError: the settings of a project are wrong, or two projects have the same app name.
    """
    checked = [part.settings for part in _load_parts(project_dirs, node_config, keep)]
    for settings in checked:
        settings.require("aggregator")
    return checked


@dataclass(frozen=True, slots=True)
class _Part:
    """One project that a data owner serves."""

    folder: Path
    client_app: str
    context: Context
    settings: Settings

    @classmethod
    def load(cls, project_dir: str | Path, node_config: NodeConfig | None, keep: bool | None) -> "_Part":
        project = FlowerProject.load(project_dir)
        settings = load_settings(project_dir, node_config=node_config, keep=keep)
        email, datasites = settings.require("email"), settings.datasites
        if datasites and email not in datasites:
            raise ConfigError(
                f"email: {email} is not a datasite of this project ({', '.join(datasites)}), so it would never get a "
                "request",
                hint="Correct SYFTBOX_EMAIL or the email of the SyftBox client, or add this email to datasites in every "
                "participant's project.",
            )
        data = settings.user_data_dir
        if data is not None and not data.exists():
            logger.warning(
                "DATA_DIR names {}, which does not exist; set DATA_DIR to the folder of the private data and start again",
                data,
            )
        config = node_config_of(email, datasites, settings.node_config, {})
        context = Context(run_id=0, node_id=0, node_config=config, state=RecordDict(), run_config=project.run_config)
        return cls(project.folder, project.client_app, context, settings)

    def setup(self, participant: Participant) -> ClientSetup:
        """Return the app of this project as ``participant`` serves it."""
        name, aggregator = self.settings.require("app_name"), self.settings.require("aggregator")
        keep = self.settings.keep
        return ClientSetup(self.client_app, self.context, name, self.folder, participant, aggregator, keep)


def _load_parts(project_dirs: Sequence[str | Path], node_config: NodeConfig | None, keep: bool | None) -> list[_Part]:
    parts = [_Part.load(folder, node_config, keep) for folder in project_dirs]
    names = [part.settings.require("app_name") for part in parts]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"app_name: {', '.join(names)}: each project needs a name of its own",
            hint="Set another app_name in [tool.syft_flwr] of one project, for all its participants.",
        )
    return parts


def _serve_together(parts: Sequence[_Part], participant: Participant) -> None:
    errors: list[SyftFlwrError] = []
    with ExitStack() as stack, ThreadPoolExecutor(len(parts), "client") as pool:
        opened: list[Serving] = []
        for part in parts:
            setup = part.setup(participant)
            try:
                opened.append(stack.enter_context(open_serving(setup)))
            except SyftFlwrError as error:
                _log_unserved(setup.app_name, error)
                errors.append(error)
        serving = [pool.submit(_serve, one, errors) for one in opened]
        try:
            while wait(serving, timeout=SIGNAL_DELAY).not_done:
                pass
        except BaseException:
            # Ctrl-C or SIGTERM reaches this thread only, so it must stop the clients in the other threads.
            for one in opened:
                one.stop()
            raise
        for done in serving:
            done.result()
    if errors:
        raise errors[0]


def _serve(one: Serving, errors: list[SyftFlwrError]) -> None:
    try:
        one.serve()
    except SyftFlwrError as error:
        # At once, because the other projects may be served for months.
        _log_unserved(one.app_name, error)
        errors.append(error)


def _log_unserved(app_name: str, error: SyftFlwrError) -> None:
    logger.error("{} is not served; the other projects continue: {}", app_name, error.diagnose())
