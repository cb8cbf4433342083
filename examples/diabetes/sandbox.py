"""Finds the participant of a notebook: from the SyftBox client, or from a sandbox for three notebooks on one machine.

The sandbox is the folder ``.sandbox`` next to the notebooks. It has a config file of the SyftBox client for each
participant, and one data folder that all of them share. SyftBox itself is not needed.
"""

import json
import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
SANDBOX = PROJECT / ".sandbox"
SYFTBOX_CONFIG = Path.home() / ".syftbox" / "config.json"


def identify(sandbox_email: str) -> str:
    """Return the email of this participant, and set ``SYFTBOX_CLIENT_CONFIG_PATH`` if it is not set.

    The email comes from this config file, or else from the default config file of SyftBox. If both are missing, this
    process becomes the participant ``sandbox_email`` of the sandbox.
    """
    if "SYFTBOX_CLIENT_CONFIG_PATH" not in os.environ:
        config = SYFTBOX_CONFIG if SYFTBOX_CONFIG.is_file() else _join_sandbox(sandbox_email)
        os.environ["SYFTBOX_CLIENT_CONFIG_PATH"] = str(config)
    return str(json.loads(Path(os.environ["SYFTBOX_CLIENT_CONFIG_PATH"]).read_text(encoding="utf-8"))["email"])


def peers_command() -> str:
    """Return the shell command that lists the fingerprints of all participants, with the settings of this process.

    It runs in the folder of the project, so it also lists participants with a key that is not known yet.
    """
    names = ("SYFTBOX_CLIENT_CONFIG_PATH", "SYFT_FLWR_HOME")
    settings = [f"{name}='{Path(os.environ[name]).expanduser().absolute()}'" for name in names if name in os.environ]
    return " ".join([f"cd '{PROJECT}' &&", *settings, "syft-flwr peers"])


def _join_sandbox(email: str) -> Path:
    home = SANDBOX / email
    shared = SANDBOX / "shared"
    for folder in (home, shared):
        folder.mkdir(parents=True, exist_ok=True)
    path = home / "config.json"
    content = {"email": email, "data_dir": str(shared)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.environ.setdefault("SYFT_FLWR_HOME", str(home / "home"))
    return path
