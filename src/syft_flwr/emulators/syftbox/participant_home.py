"""One participant's folders and client configuration, as the SyftBox client makes them."""

import json
from dataclasses import dataclass
from pathlib import Path

from syft_flwr.emulators.syftbox.sync_names import PERMISSIONS
from syft_flwr.files import write_private

# workspace.go, createDefaultACL: the datasite is private, its public/ is readable by everybody.
_DEFAULTS = {
    "": "rules:\n  - pattern: '**'\n    access:\n      admin: []\n      read: []\n      write: []\n",
    "public": "rules:\n  - pattern: '**'\n    access:\n      admin: []\n      read:\n        - '*'\n      write: []\n",
}


@dataclass(frozen=True, slots=True)
class ParticipantHome:
    """Where one participant's files lie: ``home`` is hers alone, and nothing in it is shared but by the network."""

    email: str
    home: Path

    @property
    def config_path(self) -> Path:
        """The client's configuration file, for ``SYFTBOX_CLIENT_CONFIG_PATH``."""
        return self.home / "config.json"

    @property
    def data_dir(self) -> Path:
        return self.home / "SyftBox"

    @property
    def datasites(self) -> Path:
        """What she sees of all datasites."""
        return self.data_dir / "datasites"

    @property
    def datasite(self) -> Path:
        """Her own datasite."""
        return self.datasites / self.email

    @property
    def staging(self) -> Path:
        return self.data_dir / ".syft-tmp"

    @property
    def environment(self) -> dict[str, str]:
        """What a process of hers needs to find her SyftBox."""
        return {"SYFTBOX_CLIENT_CONFIG_PATH": str(self.config_path)}

    def set_up(self) -> None:
        """Make what is missing; what is there stays as it is."""
        self.staging.mkdir(parents=True, exist_ok=True)
        for folder, text in _DEFAULTS.items():
            path = self.datasite / folder / PERMISSIONS
            path.parent.mkdir(parents=True, exist_ok=True)
            # aclspec.go, Exists: an empty permission file counts as none.
            if not path.exists() or not path.stat().st_size:
                path.write_text(text)
        config = {
            "data_dir": str(self.data_dir),
            "email": self.email,
            # Names that resolve nowhere: nothing that runs against the stand-in may reach a real server or client.
            "server_url": "https://server.syftbox.invalid",
            "client_url": "http://client.syftbox.invalid",
            "client_token": "stand-in",
            "refresh_token": "stand-in",
        }
        write_private(self.config_path, json.dumps(config, indent=2).encode())
