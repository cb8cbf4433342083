"""The SyftBox client (daemon) of a data folder: its config file, and whether it runs.

A running daemon holds a lock on a file in its data folder. The lock tells more than the daemon's local API: the daemon of
SyftBox's main branch has no API if it is started without ``daemon``, and one without a valid login has an API and syncs
nothing. A lock on a network file system can be invisible, so a missing daemon is never an error.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from syft_flwr.config import Settings
from syft_flwr.config.sources import read_syftbox_config
from syft_flwr.emails import fold
from syft_flwr.errors import ConfigError
from syft_flwr.locks import is_held

#: Bytes of free disk space below which a daemon syncs nothing.
RESERVE = 5 << 30
#: The folder in the data folder with the files of the daemon.
STATE = ".data"
_LOCK = "syftbox.lock"
_PERMISSIONS = "syft.pub.yaml"
#: No server can have a name below this domain (RFC 6761).
_NEVER = ".invalid"


def runs_on(data_dir: Path) -> bool:
    """Return whether a daemon syncs this data folder now."""
    return is_held(data_dir / STATE / _LOCK)


def real(path: Path) -> Path:
    """Return a path without symbolic links; other than ``Path.resolve``, it does not fail for a loop of links."""
    return Path(os.path.realpath(path))


def require_datasites(datasites: Path) -> None:
    """Raise ConfigError for a link that leads nowhere: it often names a disk that is not mounted."""
    if datasites.is_symlink() and not datasites.exists():
        raise ConfigError(
            f"{datasites} is a symbolic link to {real(datasites)}, which is not there",
            hint="Mount the disk of that folder, or put a folder in the place of the link.",
        )


def absence_at(settings: Settings) -> ConfigError | None:
    """Return the problem that no daemon runs for a participant; None if one runs, or if the participant needs none."""
    if settings.transport != "syftbox" or not settings.data_dir:
        return None
    return Daemon.look(settings).absence()


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon of a participant, as its config file and the data folder show it."""

    #: The data folder of the settings.
    data_dir: Path
    #: The email of the settings.
    email: str
    #: The config file of the daemon; it need not exist.
    config_path: Path
    running: bool
    #: The content of the config file; empty if it cannot be read. It has secrets, so it is never shown.
    config: dict[str, Any] = field(repr=False)

    @classmethod
    def look(cls, settings: Settings) -> "Daemon":
        """Return the daemon of the participant that the settings describe."""
        path = settings.syftbox_config or Path()
        try:
            config = read_syftbox_config(path)
        except ConfigError:
            # The settings need email and folder only, and had them from another source.
            config = {}
        data_dir = Path(settings.require("data_dir"))
        return cls(data_dir, str(settings.require("email")), path, runs_on(data_dir), config)

    @property
    def datasites(self) -> Path:
        return self.data_dir / "datasites"

    @property
    def is_expected(self) -> bool:
        """Return whether a daemon should sync the folder: one worked here before, or the config names a server.

        Where participants of one machine share a folder, no daemon is needed.
        """
        try:
            host = urlsplit(str(self.config.get("server_url") or "")).hostname or ""
        except ValueError:
            host = ""
        return self.running or (self.data_dir / STATE).is_dir() or (bool(host) and not host.endswith(_NEVER))

    @property
    def has_own_datasite(self) -> bool:
        """Return whether a daemon has set up the datasite of this participant."""
        return os.path.lexists(self.datasites / self.email / _PERMISSIONS)

    def absence(self) -> ConfigError | None:
        """Return the problem that no daemon runs; None if one runs, or if none is expected."""
        if self.running or not self.is_expected:
            return None
        folder = self.configured_folder
        other = folder and real(folder) != real(self.data_dir)
        place = f"; SyftBox config {self.config_path} names {folder}" if other else ""
        return ConfigError(
            f"no SyftBox client runs for {self.data_dir}, so no file is synced{place}",
            hint="Start the SyftBox client. If one runs, set SYFTBOX_CLIENT_CONFIG_PATH to its config file.",
        )

    @property
    def configured_email(self) -> str:
        """Return the email in the config file, in lower case; empty if there is none."""
        return fold(str(self.config.get("email") or "").strip())

    @property
    def configured_folder(self) -> Path | None:
        """Return the data folder in the config file, None if there is none."""
        raw = self.config.get("data_dir")
        if not isinstance(raw, str) or not raw or "\0" in raw:
            return None
        return Path(raw.replace("~", str(Path.home()), 1) if raw.startswith("~/") else raw)
