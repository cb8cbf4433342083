"""Reads the participants of a simulated run from its project, with the data path of each."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from syft_flwr._bootstrap.main_program import MAIN, is_old_main
from syft_flwr.config import Settings, load_settings
from syft_flwr.config.run_config import read_run_config, with_overrides
from syft_flwr.config.search import FIELDS
from syft_flwr.config.user_config import PrivateConfig, UserConfigValue, parse_private_config
from syft_flwr.config.values import absolute, utf8_path
from syft_flwr.errors import ConfigError
from syft_flwr.simulation.stand_in import require_stand_in
from syft_flwr.text import counted
from syft_flwr.tracking.tracker_packages import require_trackers

#: One value of the argument ``node_configs``: a dict, a text in the syntax of Flower or the path of a ``.toml`` file.
NodeConfig = Mapping[str, Any] | str | None
#: Settings that a simulation takes from the caller's environment. Others describe the caller's real participant.
_SHARED = (
    "home",
    "app_name",
    "aggregator",
    "datasites",
    "run_config_overrides",
    "strict",
    "display",
    "tracking",
    "tensorboard_folder",
)
#: Settings for runs, which the simulated participants take from the caller's environment, too.
OF_RUNS = (
    "encryption",
    "msg_timeout",
    "round_timeout",
    "min_replies",
    "grace",
    "nodes",
    "journal_limit",
    "share_tracebacks",
    "idle_after",
    "log_level",
    "threads",
    "gdrive_timeout",
    "gdrive_concurrency",
)


@dataclass(frozen=True, slots=True)
class Seat:
    """One process of the run. An email that is both aggregator and datasite has two seats."""

    email: str
    role: str
    #: Unique in the run, and usable as a file name.
    label: str
    data: Path | None = None
    #: The setting ``node_config`` of a data owner.
    node_config: PrivateConfig = field(default_factory=PrivateConfig, hash=False)


@dataclass(frozen=True, slots=True)
class Federation:
    """The participants of one project. The seat of the server comes first."""

    project_dir: Path
    #: The caller's SYFT_FLWR_HOME, in which the records of local runs are kept.
    base: Path
    transport: str
    app_name: str
    aggregator: str
    datasites: tuple[str, ...]
    seats: tuple[Seat, ...]
    #: Values of the run configuration that replace those of the project.
    run_config_overrides: PrivateConfig = field(default_factory=PrivateConfig, hash=False)
    #: Whether a failed request makes the run a failure.
    strict: bool = False
    #: Whether the run is shown while it lasts.
    display: bool = True
    tracking: tuple[str, ...] = ()
    tensorboard_folder: Path | None = None

    @classmethod
    def load(
        cls,
        project_dir: str | Path,
        mock_paths: Iterable[str | Path],
        transport: str | None,
        run_config: Mapping[str, UserConfigValue] | str | None = None,
        node_configs: Iterable[NodeConfig] | None = None,
        strict: bool | None = None,
        display: bool | None = None,
    ) -> Self:
        """Read the project and assign a seat to each process.

        Raises:
            ConfigError: the project does not name its participants, the data paths or the node configurations do not fit
                its datasites, or the run configuration is not allowed.
        """
        names = [FIELDS[name].environment for name in (*_SHARED, *OF_RUNS)]
        environ = {name: os.environ[name] for name in (*names, "HOME") if name in os.environ}
        settings = load_settings(
            project_dir,
            environ=environ,
            transport=transport,
            run_config_overrides=run_config,
            strict=strict,
            display=display,
        )
        require_trackers(settings.tracking, os.environ)
        _refuse_old_main(Path(settings.require("project_dir")))
        require_stand_in(settings.transport)
        aggregator, datasites = str(_require(settings, "aggregator")), _require(settings, "datasites")
        overrides = settings.run_config_overrides
        with_overrides(read_run_config(Path(settings.require("project_dir"))), overrides)
        paths = _check_data(mock_paths, datasites)
        configs = _check_node_configs(node_configs, datasites)
        twice = [aggregator] if aggregator in datasites else []
        owners = zip(datasites, paths, configs, strict=True)
        seats = [("server", aggregator, None, PrivateConfig()), *(("client", *owner) for owner in owners)]
        return cls(
            project_dir=Path(settings.require("project_dir")),
            base=settings.base,
            transport=settings.transport,
            app_name=_require(settings, "app_name"),
            aggregator=aggregator,
            datasites=datasites,
            seats=tuple(
                Seat(email, role, f"{email}.{role}" if email in twice else email, path, config)
                for role, email, path, config in seats
            ),
            run_config_overrides=overrides,
            strict=settings.strict,
            display=settings.display,
            tracking=settings.tracking,
            tensorboard_folder=settings.tensorboard_folder,
        )


def _refuse_old_main(project: Path) -> None:
    if is_old_main(project / MAIN):
        raise ConfigError(
            f"{project / MAIN} was written by an earlier release of syft-flwr and cannot run with this one",
            hint=f"Run `syft-flwr bootstrap {project}`: it keeps the participants and replaces this file.",
        )


def _require(settings: Settings, name: str) -> Any:
    try:
        return settings.require(name)
    except ConfigError as error:
        hint = f"Run `syft-flwr bootstrap {settings.project_dir} -a EMAIL -d EMAIL` first."
        raise ConfigError(str(error), hint=hint) from None


def _check_data(mock_paths: Iterable[str | Path], datasites: tuple[str, ...]) -> list[Path]:
    if isinstance(mock_paths, str | Path):
        raise ConfigError(
            f"mock_paths: expected a list of paths, got the single path {str(mock_paths)!r}",
            hint="Pass a list with one path for each datasite.",
        )
    paths = [utf8_path(absolute(Path(path).expanduser()), "mock data") for path in mock_paths]
    if len(paths) != len(datasites):
        raise ConfigError(
            f"mock data: {counted(len(paths), 'path')} for {counted(len(datasites), 'datasite')}",
            hint=f"Give one path for each, in this order: {', '.join(datasites)}.",
        )
    for path, email in zip(paths, datasites, strict=True):
        if not path.exists():
            raise ConfigError(f"mock data of {email}: {path} does not exist", hint="Correct the path.")
    return paths


def _check_node_configs(given: Iterable[NodeConfig] | None, datasites: tuple[str, ...]) -> list[PrivateConfig]:
    """Return the node configuration of each datasite; None and an empty text give an empty one."""
    if given is None:
        return [PrivateConfig() for _ in datasites]
    if isinstance(given, str | Mapping):
        raise ConfigError(
            "node_configs: expected a list of configurations, got a single one",
            hint="Pass a list with one for each datasite, and None for a datasite without one.",
        )
    configs = list(given)
    if len(configs) != len(datasites):
        raise ConfigError(
            f"node configurations: {len(configs)} for {counted(len(datasites), 'datasite')}",
            hint=f"Give one for each, in this order: {', '.join(datasites)}. An empty text is an empty configuration.",
        )
    return [
        parse_private_config({} if config is None else config, f"node configuration of {email}")
        for config, email in zip(configs, datasites, strict=True)
    ]
