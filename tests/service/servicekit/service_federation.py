"""The tiny project with a data owner whose client is installed as a service, and an aggregator as a process."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tiny_project import DO1
from two_processes import TwoProcesses
from waiting import PATIENCE

UNIT = "syft-flwr-client-tiny.service"
#: The first message hangs, and each later one is answered.
_HANGS_ONCE = """

@app.query("once")
def once(message, context):
    if not Path(os.environ["DATA_DIR"], "pids").exists():
        hang(message, context)
    return Message(RecordDict({"report": ConfigRecord({"answer": 42})}), reply_to=message)
"""


class ServiceFederation(TwoProcesses):
    """Two participants of one machine. The units of the data owner are below its home."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with (self.tiny.folder / "tiny" / "client_app.py").open("a") as app:
            app.write(_HANGS_ONCE)
        self.home = folder / "owner"
        self.home.mkdir()
        self.units = self.home / ".config" / "systemd" / "user"

    def environ(self, email: str) -> dict[str, str]:
        known = super().environ(email) | {"TINY_TASK": "once"}
        return known | {"HOME": str(self.home), "XDG_CONFIG_HOME": ""} if email == DO1 else known

    def install(self, *options: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return self.call("client", "--install-service", str(self.tiny.folder), *options, **environ)

    def add_drop_in(self, lines: str) -> None:
        """Add lines to the section of the service, as ``systemctl --user edit`` does."""
        folder = self.units / f"{UNIT}.d"
        folder.mkdir()
        (folder / "short.conf").write_text(f"[Service]\n{lines}\n")

    def call(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the data owner to its end."""
        return subprocess.run(
            [self.tiny.command()[0], *arguments],
            env=os.environ | self.environ(DO1) | environ,
            cwd=self.tiny.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def health(self, *options: str) -> dict[str, Any]:
        """Return the JSON object of ``syft-flwr health``, with its exit code."""
        done = self.call("health", str(self.tiny.folder), "--format", "json", *options)
        return {"code": done.returncode, **json.loads(done.stdout)}

    def state(self) -> str:
        """Return the state of the client."""
        return str(self.health()["processes"][0]["state"])

    def heartbeat(self) -> float:
        """Return the time of the last heartbeat of the data owner, 0 without one."""
        path = self.folder / "SyftBox" / "datasites" / DO1 / "app_data/flwr/tiny/status/heartbeat.request"
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0
