"""Who a notebook is: the SyftBox client of this machine, or a stand-in for trying three notebooks on one machine.

The stand-in is a folder ``.sandbox`` beside the notebooks. It holds a client config for each participant, as SyftBox
would have written it, and one data folder that all of them share instead of one each that SyftBox keeps in step.
"""

import json
import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
SANDBOX = PROJECT / ".sandbox"
SYFTBOX_CONFIG = Path.home() / ".syftbox" / "config.json"


def identify(sandbox_email: str) -> str:
    """Return the email of the participant that this process is, after making sure that there is one.

    ``SYFTBOX_CLIENT_CONFIG_PATH`` decides; if it is not set, SyftBox's usual config file; if there is none, this process
    becomes ``sandbox_email`` of the sandbox, and the environment is set to say so.
    """
    if "SYFTBOX_CLIENT_CONFIG_PATH" not in os.environ:
        config = SYFTBOX_CONFIG if SYFTBOX_CONFIG.is_file() else _join_sandbox(sandbox_email)
        os.environ["SYFTBOX_CLIENT_CONFIG_PATH"] = str(config)
    return str(json.loads(Path(os.environ["SYFTBOX_CLIENT_CONFIG_PATH"]).read_text(encoding="utf-8"))["email"])


def peers_command() -> str:
    """The shell command that lists the fingerprints of all participants, with the settings that this process has.

    It runs in the project's folder, so that it also shows participants that were not met yet.
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
    content = {"email": email, "data_dir": str(shared), "server_url": "http://localhost"}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.environ.setdefault("SYFT_FLWR_HOME", str(home / "home"))
    return path
