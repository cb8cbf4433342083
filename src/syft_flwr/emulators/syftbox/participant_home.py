"""The folders and the client configuration of one participant, as the SyftBox client creates them."""

import json
from dataclasses import dataclass
from pathlib import Path

from syft_flwr.emulators.syftbox.sync_names import PERMISSIONS
from syft_flwr.files import write_private

# As createDefaultACL in workspace.go: the datasite is private, and all users may read its folder public/.
_DEFAULTS = {
    "": "rules:\n  - pattern: '**'\n    access:\n      admin: []\n      read: []\n      write: []\n",
    "public": "rules:\n  - pattern: '**'\n    access:\n      admin: []\n      read:\n        - '*'\n      write: []\n",
}


@dataclass(frozen=True, slots=True)
class ParticipantHome:
    """The paths of one participant. Only this participant and the network use the folder ``home``."""

    email: str
    home: Path

    @property
    def config_path(self) -> Path:
        """Return the configuration file of the client, for ``SYFTBOX_CLIENT_CONFIG_PATH``."""
        return self.home / "config.json"

    @property
    def data_dir(self) -> Path:
        """Return the SyftBox data folder."""
        return self.home / "SyftBox"

    @property
    def datasites(self) -> Path:
        """Return the folder with this participant's copies of all datasites."""
        return self.data_dir / "datasites"

    @property
    def datasite(self) -> Path:
        """Return the participant's own datasite."""
        return self.datasites / self.email

    @property
    def staging(self) -> Path:
        """Return the folder for files that are not complete yet."""
        return self.data_dir / ".syft-tmp"

    @property
    def client_state(self) -> Path:
        """Return the folder with the files of a faithful client itself. Programs take it for a sign of a client."""
        return self.data_dir / ".data"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables that let a process find this participant's SyftBox."""
        return {"SYFTBOX_CLIENT_CONFIG_PATH": str(self.config_path)}

    def set_up(self, *, faithful: bool) -> None:
        """Create the missing folders and permission files, and write the client configuration. Other files stay unchanged."""
        for made in (self.staging, self.client_state) if faithful else (self.staging,):
            made.mkdir(parents=True, exist_ok=True)
        for folder, text in _DEFAULTS.items():
            path = self.datasite / folder / PERMISSIONS
            path.parent.mkdir(parents=True, exist_ok=True)
            # SyftBox ignores an empty permission file (Exists in aclspec.go).
            if not path.exists() or not path.stat().st_size:
                path.write_text(text)
        config = {
            "data_dir": str(self.data_dir),
            "email": self.email,
            # Host names that never resolve, so that a program cannot reach a real server or client.
            "server_url": "https://server.syftbox.invalid",
            "client_url": "http://client.syftbox.invalid",
            "client_token": "stand-in",
            "refresh_token": "stand-in",
        }
        write_private(self.config_path, json.dumps(config, indent=2).encode())
