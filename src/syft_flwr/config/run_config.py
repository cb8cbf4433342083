"""Reads the run configuration of a project, replaces values of it, and compares that of two starts of a run.

The rules are those of Flower: a replacement must name a key of the project, and its value may have another type.

    >>> with_overrides({"lr": 0.1, "rounds": 3}, {"lr": 0.5})
    {'lr': 0.5, 'rounds': 3}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from syft_flwr.config import sources
from syft_flwr.config.user_config import UserConfig, UserConfigValue, checked_user_config
from syft_flwr.errors import ConfigError
from syft_flwr.text import printable

TABLE = "[tool.flwr.app.config]"
#: Characters of a value in a log line or an error.
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The configuration of one run, and the names of the keys that replaced those of the project."""

    values: UserConfig
    overridden: tuple[str, ...] = ()

    def encode(self) -> str:
        """Return the text of a database for this configuration."""
        return json.dumps({"values": self.values, "overridden": self.overridden}, sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the configuration in a text of :meth:`encode`."""
        found = json.loads(text)
        return cls(found["values"], tuple(found["overridden"]))

    def continued(self, now: "RunConfig") -> "RunConfig":
        """Return the configuration with which a run of this one continues, if it starts with ``now``.

        A start that replaces no value gets the replaced values of the run.
        """
        if now.overridden:
            return now
        kept = {key: self.values[key] for key in self.overridden if key in self.values}
        return RunConfig(now.values | kept, self.overridden)

    def require_same(self, now: UserConfig, run: int) -> None:
        """Raise ConfigError with the key and both values if the run would continue with another configuration."""
        for key in sorted(self.values.keys() | now.keys()):
            before, after = (shown_value(values, key) for values in (self.values, now))
            if _identity(self.values, key) != _identity(now, key):
                raise ConfigError(
                    f"run {run} was started with {key} = {before}, and would continue with {after}",
                    hint="Start with the same run configuration, or start a new run with --fresh (in Python: "
                    "fresh=True).",
                )


def project_run_config(document: Mapping[str, Any], path: Path) -> UserConfig:
    """Return the run configuration in a parsed pyproject.toml, with flat keys; ConfigError if a value is not allowed."""
    return checked_user_config(document["tool"]["flwr"]["app"].get("config", {}), f"{path} {TABLE}")


def read_run_config(project_dir: Path) -> UserConfig:
    """Return the run configuration of a project; empty if it is no Flower project, which another call reports."""
    path, text = sources.read_project(project_dir)
    try:
        return project_run_config(sources.parse_toml(text, path), path)
    except (KeyError, TypeError, AttributeError):
        return {}


def with_overrides(config: UserConfig, overrides: Mapping[str, UserConfigValue]) -> UserConfig:
    """Return the configuration with replaced values; ConfigError if the project has no such key."""
    unknown = sorted(overrides.keys() - config.keys())
    if unknown:
        raise ConfigError(
            f"the run configuration of the project has no key {', '.join(map(repr, unknown))}",
            hint=f"Its keys in {TABLE}: {', '.join(sorted(config)) or 'none'}.",
        )
    return {**config, **overrides}


def shown_value(values: Mapping[str, UserConfigValue], key: str) -> str:
    """Return a value of a configuration for people: on one line and cut, or ``nothing`` if the key is missing."""
    if key not in values:
        return "nothing"
    text = printable(_identity(values, key))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def equal_values(one: Mapping[str, UserConfigValue], other: Mapping[str, UserConfigValue], key: str) -> bool:
    """Return whether a key has the same value of the same type in both; ``nan`` equals itself."""
    return _identity(one, key) == _identity(other, key)


def _identity(values: Mapping[str, UserConfigValue], key: str) -> str:
    # JSON separates 1, 1.0 and true, which are equal in Python.
    return json.dumps(values[key], ensure_ascii=False) if key in values else ""
