"""The resolved settings of one participant."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from syft_flwr.config import sources, values
from syft_flwr.config.misspelt import warn_of_misspelt
from syft_flwr.config.search import ARGUMENT, DEFAULT, FIELDS, SYFTBOX_CONFIG, Field, Search, Setting
from syft_flwr.config.transport_table import TRANSPORTS
from syft_flwr.config.user_config import PrivateConfig
from syft_flwr.disk_errors import told
from syft_flwr.errors import ConfigError

#: Settings that a person can also pass to a command or a function, for the text of errors.
_ARGUMENTS = {
    "app_name": "the argument app_name (in Python)",
    "aggregator": "-a/--aggregator of `syft-flwr bootstrap` (in Python: the argument aggregator)",
    "gdrive_client_secrets": "--client-secrets of `syft-flwr login`",
    "strict": "--strict of `syft-flwr server` and `run` (in Python: the argument strict)",
    "keep": "--keep of `syft-flwr client` (in Python: the argument keep)",
    "display": "the argument display (in Python)",
    "datasites": "-d/--datasites of `syft-flwr bootstrap` (in Python: the argument datasites)",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a participant, frozen. Emails are normalised, paths are absolute, times are in seconds."""

    transport: str
    #: The email of this participant.
    email: str | None
    #: The SyftBox data folder, which contains ``datasites/``.
    data_dir: Path | None
    #: The private folder of this participant, which ends in ``/<email>``; never inside a synced folder.
    home: Path | None
    app_name: str | None
    aggregator: str | None
    datasites: tuple[str, ...]
    #: The role that a person chose for an email that is both aggregator and datasite.
    role: str | None
    encryption: bool
    #: A request ends after this many seconds without a heartbeat that lists it and without a new object of its reply;
    #: infinity for never.
    msg_timeout: float
    #: A round ends this many seconds after its first message; infinity for never.
    round_timeout: float
    #: A round is closed ``grace`` seconds after this share of its requests has a reply.
    min_replies: float
    grace: float
    #: Whether a run with a failed request counts as a failure.
    strict: bool
    #: The data owners that a strategy sees: ``all``, or ``online`` for those with a recent heartbeat.
    nodes: str
    #: The most bytes of kept replies, which a run reuses when it continues after a crash. 0 keeps no replies.
    journal_limit: int
    poll_interval: float
    #: Threads that seal, open and hash the parts of one message.
    threads: int
    user_data_dir: Path | None
    output_dir: Path | None
    gdrive_token_path: Path | None
    #: The file of the OAuth client for ``syft-flwr login``.
    gdrive_client_secrets: Path | None
    #: The address of an emulator on this machine that replaces Google Drive.
    gdrive_api: str | None
    #: A request to Google without a byte in this many seconds counts as lost.
    gdrive_timeout: float
    #: The most requests to Google at the same time.
    gdrive_concurrency: int
    #: The configuration that only the ClientApp of this data owner sees, as ``context.node_config``.
    node_config: PrivateConfig = field(hash=False)
    #: The command that starts Python for the worker of a data owner; None for the Python of the client.
    worker_command: str | None
    #: Whether the client sends tracebacks of the app to the aggregator.
    share_tracebacks: bool
    #: Seconds without a request after which the client of a data owner ends its worker; infinity for never.
    idle_after: float
    #: The lowest level of the lines that a command logs, and whether each line is a JSON object.
    log_level: str
    log_json: bool
    #: Whether the client of a data owner stays after the end of a run, and serves the next one.
    keep: bool
    #: Whether an aggregator and a local run show their progress while they run.
    display: bool
    #: The trackers that get the metrics of an aggregator's runs: ``tensorboard``, ``mlflow``.
    tracking: tuple[str, ...]
    #: The folder for TensorBoard, with a folder for each run; by default one beside the records of the app.
    tensorboard_folder: Path | None
    #: The run configuration that the ClientApp sees: ``sent`` by the aggregator, or only the ``own`` one of the project.
    run_config: str
    #: Values of the run configuration that a data owner sets, and that the aggregator cannot change.
    run_config_pins: PrivateConfig = field(hash=False)
    #: Values that an aggregator sets in place of those of the project.
    run_config_overrides: PrivateConfig = field(hash=False)
    project_dir: Path | None
    #: The folder with the homes of all participants of this user, and with the records of local runs.
    base: Path = field(default=Path(), compare=False)
    #: The config file of the SyftBox client, for a transport that reads it; it need not exist.
    syftbox_config: Path | None = field(default=None, compare=False)
    #: Settings of transports of other packages, by name; :meth:`get` reads them.
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)
    #: Problems of the SyftBox config file, by the name of the setting that is missing because of it.
    problems: Mapping[str, ConfigError] = field(default_factory=dict, compare=False, repr=False)
    _sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def report(self) -> list[Setting]:
        """Return every setting with its value and its source."""
        return [Setting(name, self.get(name), source) for name, source in self._sources.items()]

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.report())

    def get(self, name: str) -> Any:
        """Return the value of ``name``, which may be a setting that a transport added; None if it is not set."""
        return self.others[name] if name in self.others else getattr(self, name)

    def explicit(self, name: str) -> bool:
        """Return whether ``name`` was set, even if its value equals the default."""
        return self._sources[name] != DEFAULT

    def require(self, name: str) -> Any:
        """Return the value of ``name``.

        Raises:
            ConfigError: it is not set. The hint lists every place where it can be set.
        """
        value = self.get(name)
        if value is not None and value != ():
            return value
        if name == "home":
            return self.require("email")
        empty = f"{name} is empty ({self._sources[name]})" if self.explicit(name) else f"{name} is not set"
        problem = self.problems.get(name)
        raise ConfigError(f"{empty}: {problem}" if problem else empty, hint=f"Set it in {self._places(name)}.")

    def participant_role(self) -> str:
        """Return the role of this participant by its email: ``server`` (the aggregator) or ``client`` (a data owner).

        An aggregator that is also a datasite is the server, unless the setting ``role`` is ``client``.

        Raises:
            ConfigError: the email is not a participant of the run, or cannot have the role in the setting ``role``.
        """
        email = self.require("email")
        mine = {"server": email == self.require("aggregator"), "client": email in self.datasites}
        role = self.role or next((role for role in values.ROLES if mine[role]), None)
        if role is None:
            raise ConfigError(
                f"{email} ({self._sources['email']}) is neither the aggregator nor one of the datasites of this project",
                hint=f"Use the email of the aggregator ({self.aggregator}) or of a datasite "
                f"({', '.join(self.datasites) or 'not set'}).",
            )
        if not mine[role]:
            part = "the aggregator" if role == "server" else "one of the datasites"
            raise ConfigError(
                f"role ({self._sources['role']}): {email} cannot be the {role}, because it is not {part} of this project",
                hint="Leave the role out: it is then chosen by the email.",
            )
        return role

    def _places(self, name: str) -> str:
        entry = FIELDS.get(name, Field(values.parse_path))
        places = [_ARGUMENTS[name]] if name in _ARGUMENTS else []
        if entry.environment:
            places.append(f"the environment {entry.environment}")
        if entry.project:
            file = sources.PROJECT_FILE if self.project_dir is None else self.project_dir / sources.PROJECT_FILE
            places.append(f"{file} {sources.PROJECT_TABLE}")
        if entry.syftbox and TRANSPORTS[self.transport].syftbox_config:
            places.append(f"'{entry.syftbox}' in the SyftBox config (its path: the environment {SYFTBOX_CONFIG})")
        return ", or ".join(places or [f"the argument {name}"])


@told()
def load_settings(
    project_dir: str | Path | None = None, *, environ: Mapping[str, str] | None = None, **arguments: Any
) -> Settings:
    """Resolve all settings of this participant.

    Args:
        project_dir: the folder of a Flower project; its ``[tool.syft_flwr]`` is read.
        environ: replaces the environment of this process.
        arguments: settings by name; ``None`` means not given.

    Returns:
        The settings, each with its source.

    Raises:
        ConfigError: a value is not allowed, or the file of the project is broken. A problem with the SyftBox config is
            raised here only if the environment names the file. Otherwise ``Settings.require`` raises it.
        TypeError: ``arguments`` has an unknown setting.
    """
    unknown = arguments.keys() - FIELDS.keys()
    if unknown:
        raise TypeError(f"load_settings() has no setting {', '.join(sorted(unknown))}; it has {', '.join(FIELDS)}")
    environ = os.environ if environ is None else environ
    warn_of_misspelt(environ)
    search = Search(arguments, environ)
    project = None
    if project_dir is not None:
        project = search.absolute(values.parse_path(project_dir, "project_dir (argument)"))
        search.open_project(project)
    # Other transports ignore SyftBox: the account of an unrelated SyftBox client must not name the participant.
    problems = search.open_syftbox() if TRANSPORTS[search.find("transport").value].syftbox_config else {}

    found = {name: search.find(name) for name in FIELDS}
    email, home = found["email"].value, found["home"]
    found["home"] = Setting("home", home.value / email if email else None, home.source)
    found["project_dir"] = Setting("project_dir", project, DEFAULT if project is None else ARGUMENT)
    _refuse_synced_home(found["home"], found["data_dir"].value)
    own = {entry.name for entry in fields(Settings)}
    return Settings(
        **{name: setting.value for name, setting in found.items() if name in own},
        base=home.value,
        syftbox_config=search.syftbox_path,
        others={name: setting.value for name, setting in found.items() if name not in own},
        problems={name: error for name, error in problems.items() if found[name].value is None},
        _sources={name: setting.source for name, setting in found.items()},
    )


def _refuse_synced_home(home: Setting, data_dir: Path | None) -> None:
    if home.value is None or data_dir is None:
        return
    synced = data_dir / "datasites"
    # Other than ``Path.resolve``, this does not fail for a loop of links.
    if Path(os.path.realpath(home.value)).is_relative_to(os.path.realpath(synced)):
        raise ConfigError(
            f"home ({home.source}): {home.value} is inside {synced}, which SyftBox synchronises",
            hint="Set SYFT_FLWR_HOME to a folder outside it; private keys are stored there.",
        )
