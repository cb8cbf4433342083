"""The table of settings with their allowed sources, and the search for a value in these sources."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syft_flwr.config import sources, values
from syft_flwr.config.transport_table import default_transport, parse_transport
from syft_flwr.config.user_config import PrivateConfig, parse_private_config
from syft_flwr.errors import ConfigError, shown_repr

#: Unknown keys that an error names.
_MOST_UNKNOWN = 10
DEFAULT = "default"
#: The source of a setting that a program passed.
ARGUMENT = "argument"


@dataclass(frozen=True, slots=True)
class Field:
    """The sources of one setting. An empty name means that the setting cannot come from this source."""

    parse: values.Parser
    environment: str = ""
    #: A function is called on each search.
    default: Any = None
    #: Allowed in [tool.syft_flwr]. The aggregator writes the project, and the data owners use it. So a setting that
    #: protects a data owner (encryption, tracebacks, paths) is not allowed there.
    project: bool = False
    #: Key in the config file of the SyftBox client.
    syftbox: str = ""
    #: The name of the argument in Python, if it is another one.
    argument: str = ""


#: Each thread holds two segments in memory, so a machine with many cores gets no more threads than this by default.
_MOST_THREADS = 8


def default_threads() -> int:
    """Return the number of threads for a participant that chose none: one for each core, at most 8."""
    return min(os.cpu_count() or 1, _MOST_THREADS)


#: Fields by the name of the setting. A transport of another package adds its own; :meth:`Settings.get` reads them.
FIELDS: dict[str, Field] = {
    "transport": Field(parse_transport, "SYFT_FLWR_TRANSPORT", default_transport, project=True),
    "email": Field(values.parse_email, "SYFTBOX_EMAIL", syftbox="email"),
    # The name of the variable in jobs and notebooks of syft-flwr 0.5.
    "data_dir": Field(values.parse_path, "SYFTBOX_FOLDER", syftbox="data_dir"),
    "home": Field(values.parse_path, "SYFT_FLWR_HOME", Path("~/.syft_flwr")),
    "app_name": Field(values.parse_app_name, "SYFT_FLWR_APP_NAME", project=True),
    "aggregator": Field(values.parse_email, "SYFT_FLWR_AGGREGATOR", project=True),
    "datasites": Field(values.parse_emails, "SYFT_FLWR_DATASITES", (), project=True),
    "role": Field(values.choice(*values.ROLES), "SYFT_FLWR_ROLE"),
    "encryption": Field(values.parse_boolean, "SYFT_FLWR_ENCRYPTION_ENABLED", default=True),
    "msg_timeout": Field(values.parse_limit, "SYFT_FLWR_MSG_TIMEOUT", 120.0, project=True),
    "round_timeout": Field(values.parse_limit, "SYFT_FLWR_ROUND_TIMEOUT", math.inf, project=True),
    "min_replies": Field(values.parse_share, "SYFT_FLWR_MIN_REPLIES", 1.0, project=True),
    "grace": Field(values.parse_seconds, "SYFT_FLWR_GRACE", 60.0, project=True),
    "strict": Field(values.parse_boolean, "SYFT_FLWR_STRICT", default=False, project=True),
    "nodes": Field(values.choice(*values.NODES), "SYFT_FLWR_NODES", "all", project=True),
    "journal_limit": Field(values.parse_size, "SYFT_FLWR_JOURNAL_LIMIT", 10_000_000_000),
    "poll_interval": Field(values.parse_seconds, "SYFT_FLWR_POLL_INTERVAL", 3.0),
    "threads": Field(values.number_within(1, 64), "SYFT_FLWR_THREADS", default_threads),
    "user_data_dir": Field(values.parse_path, "DATA_DIR"),
    "output_dir": Field(values.parse_path, "OUTPUT_DIR"),
    "gdrive_token_path": Field(values.parse_path, "GDRIVE_TOKEN_PATH"),
    "gdrive_client_secrets": Field(values.parse_path, "SYFT_FLWR_GDRIVE_CLIENT_SECRETS"),
    "gdrive_api": Field(values.parse_loopback, "SYFT_FLWR_GDRIVE_API"),
    "gdrive_timeout": Field(values.seconds_within(1, 600), "SYFT_FLWR_GDRIVE_TIMEOUT", 60.0),
    # At least two: one stays free for small calls, see HttpPool.
    "gdrive_concurrency": Field(values.number_within(2, 64), "SYFT_FLWR_GDRIVE_CONCURRENCY", 16),
    "node_config": Field(parse_private_config, "SYFT_FLWR_NODE_CONFIG", PrivateConfig()),
    "worker_command": Field(values.parse_command, "SYFT_FLWR_WORKER_COMMAND"),
    "share_tracebacks": Field(values.parse_boolean, "SYFT_FLWR_SHARE_TRACEBACKS", default=False),
    "idle_after": Field(values.parse_limit, "SYFT_FLWR_IDLE_AFTER", 900.0),
    "log_level": Field(values.parse_level, "SYFT_FLWR_LOG_LEVEL", "INFO"),
    "log_json": Field(values.parse_boolean, "SYFT_FLWR_LOG_JSON", default=False),
    "keep": Field(values.parse_boolean, "SYFT_FLWR_KEEP", default=False),
    "display": Field(values.parse_boolean, "SYFT_FLWR_DISPLAY", default=True),
    "tracking": Field(values.parse_trackers, "SYFT_FLWR_TRACKING", (), project=True),
    "tensorboard_folder": Field(values.parse_path, "SYFT_FLWR_TENSORBOARD_FOLDER"),
    "run_config": Field(values.choice(*values.RUN_CONFIGS), "SYFT_FLWR_RUN_CONFIG", "sent"),
    "run_config_pins": Field(parse_private_config, "SYFT_FLWR_RUN_CONFIG_PINS", PrivateConfig()),
    "run_config_overrides": Field(
        parse_private_config, "SYFT_FLWR_RUN_CONFIG_OVERRIDES", PrivateConfig(), argument="run_config"
    ),
}
SYFTBOX_CONFIG = "SYFTBOX_CLIENT_CONFIG_PATH"
#: The default places of this file, in the order of the SyftBox client.
_SYFTBOX_PLACES = ("~/.syftbox/config.json", "~/.config/syftbox/config.json")


@dataclass(frozen=True, slots=True)
class Setting:
    """One resolved setting and its source."""

    name: str
    value: Any
    source: str


@dataclass(slots=True)
class Search:
    """Searches the sources for a setting, in their order."""

    arguments: Mapping[str, Any]
    environ: Mapping[str, str]
    project: Mapping[str, Any] = field(default_factory=dict)
    project_place: str = ""
    #: Parsed values by the name of the setting.
    syftbox: dict[str, Any] = field(default_factory=dict)
    syftbox_place: str = ""
    #: The config file of the SyftBox client; None if the transport does not read it.
    syftbox_path: Path | None = None

    def find(self, name: str) -> Setting:
        """Return the setting from the first source that has it, else its default.

        Raises:
            ConfigError: the value is not allowed.
        """
        entry = FIELDS[name]
        found = next(self._candidates(name, entry), None)
        if found is None:
            default = entry.default() if callable(entry.default) else entry.default
            return Setting(name, self.absolute(default) if isinstance(default, Path) else default, DEFAULT)
        place, raw = found
        shown = (entry.argument if place == ARGUMENT else "") or name
        value = entry.parse(raw, f"{shown} ({place})")
        return Setting(name, self.absolute(value) if isinstance(value, Path) else value, place)

    def _candidates(self, name: str, entry: Field) -> Iterator[tuple[str, Any]]:
        if self.arguments.get(name) is not None:
            yield ARGUMENT, self.arguments[name]
        # An empty variable counts as not set: shells often clear a variable in this way.
        text = self.environ.get(entry.environment, "").strip()
        if text:
            place = f"environment {entry.environment}"
            yield place, text.split(",") if entry.parse is values.parse_emails else text
        if entry.project and name in self.project:
            yield self.project_place, self.project[name]
        if name in self.syftbox:
            yield self.syftbox_place, self.syftbox[name]

    def absolute(self, path: Path) -> Path:
        """Return an absolute path, with the home folder of this user in place of ``~``.

        Raises:
            ConfigError: this user has no home folder, HOME is no absolute path, or the current folder was deleted.
        """
        if path.parts[:1] == ("~",):
            path = Path(self._person(path), *path.parts[1:])
        return values.absolute(path)

    def _person(self, path: Path) -> str | Path:
        home = self.environ.get("HOME")
        if home is not None:
            if not home.startswith("/"):
                # Python takes the root of the file system for an empty one.
                raise ConfigError(
                    f"{path}: HOME is {home!r}, which is not the absolute path of a folder",
                    hint="Set HOME, or set SYFT_FLWR_HOME to a folder that only this user may read.",
                )
            return home
        try:
            return Path.home()
        except RuntimeError as error:
            raise ConfigError(
                f"{path}: this user (number {os.getuid()}) has no home folder: HOME is not set, and the list of users "
                "has no entry",
                hint="Set HOME, or set SYFT_FLWR_HOME to a folder that only this user may read.",
            ) from error

    def open_project(self, project_dir: Path) -> None:
        """Add ``[tool.syft_flwr]`` of a project to the sources.

        Raises:
            ConfigError: the file cannot be used, or has an unknown key.
        """
        path, text = sources.read_project(project_dir)
        self.project = sources.tool_table(sources.parse_toml(text, path), path)
        self.project_place = f"{path} {sources.PROJECT_TABLE}"
        allowed = [name for name, entry in FIELDS.items() if entry.project]
        unknown = sorted(self.project.keys() - set(allowed))
        if unknown:
            raise ConfigError(
                f"{self.project_place}: unknown key {', '.join(map(shown_repr, unknown[:_MOST_UNKNOWN]))}",
                hint=f"Allowed: {', '.join(allowed)}.",
            )

    def open_syftbox(self) -> dict[str, ConfigError]:
        """Add the SyftBox config to the sources; return its problems by the name of the setting.

        Raises:
            ConfigError: the environment names the file, and the file cannot be used.
        """
        named = self.environ.get(SYFTBOX_CONFIG, "").strip()
        try:
            places = [self.absolute(Path(place)) for place in ([named] if named else _SYFTBOX_PLACES)]
        except ConfigError as error:
            # The email and the data folder can come from the environment.
            return {name: error for name, entry in FIELDS.items() if entry.syftbox}
        path = next(filter(os.path.lexists, places), places[0])
        self.syftbox_path = path
        self.syftbox_place = f"SyftBox config {path}"
        wanted = {name: entry for name, entry in FIELDS.items() if entry.syftbox}
        try:
            config = sources.read_syftbox_config(path)
        except ConfigError as error:
            if named:
                raise
            return dict.fromkeys(wanted, error)
        problems: dict[str, ConfigError] = {}
        for name, entry in wanted.items():
            what = f"{name} ({self.syftbox_place})"
            raw = config.get(entry.syftbox)
            if raw is None:
                problems[name] = ConfigError(
                    f"{self.syftbox_place} has no {entry.syftbox!r}",
                    hint="Start the SyftBox client once, or add the key to this file.",
                )
                continue
            try:
                value = entry.parse(raw, what)
                if isinstance(value, Path) and not (value.is_absolute() or value.parts[:1] == ("~",)):
                    # A relative path would depend on the current folder of each program.
                    raise ConfigError.not_allowed(what, raw, "an absolute path")
            except ConfigError as error:
                if named:
                    raise
                problems[name] = error
            else:
                self.syftbox[name] = value
        return problems
