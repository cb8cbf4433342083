"""One participant's settings, resolved."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from syft_flwr.config import sources, values
from syft_flwr.config.search import DEFAULT, FIELDS, SYFTBOX_CONFIG, Field, Search, Setting
from syft_flwr.config.transport_table import TRANSPORTS
from syft_flwr.errors import ConfigError

#: Where a person gives a setting to a command or a function; the others are taken from their places only.
_ARGUMENTS = {
    "app_name": "the argument app_name (in Python)",
    "aggregator": "-a/--aggregator of `syft-flwr bootstrap` (in Python: the argument aggregator)",
    "gdrive_client_secrets": "--client-secrets of `syft-flwr login`",
    "datasites": "-d/--datasites of `syft-flwr bootstrap` (in Python: the argument datasites)",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, frozen. Emails are normalised, paths absolute, times in seconds."""

    transport: str
    #: Who this participant is.
    email: str | None
    #: The SyftBox data folder, the one that contains ``datasites/``.
    data_dir: Path | None
    #: State that is this participant's alone, never inside a synced folder; ends in ``/<email>``.
    home: Path | None
    app_name: str | None
    aggregator: str | None
    datasites: tuple[str, ...]
    #: What a person chose for an email that is both aggregator and datasite.
    role: str | None
    encryption: bool
    #: Seconds of silence after which a message ends; if somebody set it, it counts instead of the strategy's timeout.
    msg_timeout: float
    #: A round is closed when this share of its messages was answered, and ``grace`` seconds have passed since.
    min_replies: float
    grace: float
    #: Which data owners a strategy sees: ``all``, or those ``online``.
    nodes: str
    #: Bytes of answers that are kept for a run that is taken up again after a crash.
    journal_limit: int
    poll_interval: float
    user_data_dir: Path | None
    output_dir: Path | None
    gdrive_token_path: Path | None
    #: The OAuth client that ``syft-flwr login`` logs in with.
    gdrive_client_secrets: Path | None
    #: The address of an emulator on this machine that takes the place of Google Drive.
    gdrive_api: str | None
    #: The data owner allows tracebacks to travel to the aggregator.
    share_tracebacks: bool
    project_dir: Path | None
    #: Settings of transports that are no part of this package, by name; :meth:`get` reads them.
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)
    #: Settings that are missing because of the SyftBox config file, and what is wrong with it.
    problems: Mapping[str, ConfigError] = field(default_factory=dict, compare=False, repr=False)
    _sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def report(self) -> list[Setting]:
        """List every setting with its value and its place."""
        return [Setting(name, self.get(name), source) for name, source in self._sources.items()]

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.report())

    def get(self, name: str) -> Any:
        """Return the value of ``name``, also of a setting that a transport added; None if it is not set."""
        return self.others[name] if name in self.others else getattr(self, name)

    def explicit(self, name: str) -> bool:
        """Say whether somebody set ``name``, even to what is the default anyway."""
        return self._sources[name] != DEFAULT

    def require(self, name: str) -> Any:
        """Return the value of ``name``.

        Raises:
            ConfigError: it is not set; says every place where it can be.
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
        """Return what this participant is in the run: ``server`` or ``client``, by its exact email.

        The aggregator that is also a datasite is the server, unless the setting ``role`` says otherwise.

        Raises:
            ConfigError: its email has no part in the run, or not the part that ``role`` asks for.
        """
        email = self.require("email")
        mine = {"server": email == self.require("aggregator"), "client": email in self.datasites}
        role = self.role or next((role for role in values.ROLES if mine[role]), None)
        if role is None:
            raise ConfigError(
                f"{email} ({self._sources['email']}) is neither the aggregator nor one of the datasites of this project",
                hint=f"The aggregator is {self.aggregator}; the datasites are {', '.join(self.datasites) or 'not set'}.",
            )
        if not mine[role]:
            part = "the aggregator" if role == "server" else "one of the datasites"
            raise ConfigError(
                f"role ({self._sources['role']}): {email} cannot be the {role}, it is not {part} of this project",
                hint="Leave the role out to have it chosen by the email.",
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


def load_settings(
    project_dir: str | Path | None = None, *, environ: Mapping[str, str] | None = None, **arguments: Any
) -> Settings:
    """Resolve every setting.

    Args:
        project_dir: the folder of a Flower project; its ``[tool.syft_flwr]`` is read.
        environ: stands in for the environment of this process.
        arguments: settings by name; ``None`` means not given.

    Raises:
        ConfigError: a value is not allowed, the project's file is broken, or a SyftBox config file that somebody named
            is. A problem with the SyftBox config that nobody named is raised by :meth:`Settings.require` only.
    """
    unknown = arguments.keys() - FIELDS.keys()
    if unknown:
        raise TypeError(f"load_settings() has no setting {', '.join(sorted(unknown))}; it has {', '.join(FIELDS)}")
    environ = os.environ if environ is None else environ
    search = Search(arguments, environ)
    project = None
    if project_dir is not None:
        project = search.absolute(values.parse_path(project_dir, "project_dir (argument)"))
        search.open_project(project)
    # The others know nothing of SyftBox: an account that happens to be set up there must not name the participant.
    problems = search.open_syftbox() if TRANSPORTS[search.find("transport").value].syftbox_config else {}

    found = {name: search.find(name) for name in FIELDS}
    email, home = found["email"].value, found["home"]
    found["home"] = Setting("home", home.value / email if email else None, home.source)
    found["project_dir"] = Setting("project_dir", project, DEFAULT if project is None else "argument")
    _refuse_synced_home(found["home"], found["data_dir"].value)
    own = {entry.name for entry in fields(Settings)}
    return Settings(
        **{name: setting.value for name, setting in found.items() if name in own},
        others={name: setting.value for name, setting in found.items() if name not in own},
        problems={name: error for name, error in problems.items() if found[name].value is None},
        _sources={name: setting.source for name, setting in found.items()},
    )


def _refuse_synced_home(home: Setting, data_dir: Path | None) -> None:
    if home.value is None or data_dir is None:
        return
    synced = data_dir / "datasites"
    if home.value.resolve().is_relative_to(synced.resolve()):
        raise ConfigError(
            f"home ({home.source}): {home.value} lies in {synced}, which SyftBox synchronises",
            hint="Private keys live there: set SYFT_FLWR_HOME to a folder outside.",
        )
