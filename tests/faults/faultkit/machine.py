"""A participant as a process of its own, started from the command line with a SyftBox configuration.

It shares only the SyftBox folder and the journal with the test, so the test can kill it at any time.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faultkit.federation import AGGREGATOR, APP, OWNERS
from faultkit.journal import Journal
from faultkit.storage import POLL_INTERVAL

_FAULTS = Path(__file__).parents[1]
_PYPROJECT = """
[project]
name = "faults"
version = "0.0.0"

[tool.flwr.app.components]
serverapp = "{module}:{server_app}"
clientapp = "{module}:client_app"

[tool.flwr.app.config]
journal = {journal}

[tool.syft_flwr]
app_name = "{app}"
aggregator = "{aggregator}"
datasites = {datasites}
"""


@dataclass
class Machine:
    """The machine of one participant: a home, a SyftBox configuration, a project, and at most one process."""

    root: Path
    email: str
    data_dir: Path
    #: Name of the ServerApp in ``module``, for the aggregator.
    server_app: str = "server_app"
    owners: Sequence[str] = OWNERS
    module: str = "faultkit.app"
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.project = self.root / self.email / "project"
        self.project.mkdir(parents=True)
        self.data_dir.mkdir(exist_ok=True)
        self.journal = Journal(self.root / self.email / "journal")
        self.log = self.root / self.email / "log"
        text = _PYPROJECT.format(
            module=self.module,
            server_app=self.server_app,
            journal=json.dumps(str(self.journal.path)),
            app=APP,
            aggregator=AGGREGATOR,
            datasites=json.dumps(list(self.owners)),
        )
        (self.project / "pyproject.toml").write_text(text)
        self._config = self.root / self.email / "config.json"
        self._config.write_text(json.dumps({"email": self.email, "data_dir": str(self.data_dir)}))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SYFTBOX_CLIENT_CONFIG_PATH": str(self._config),
            "SYFT_FLWR_HOME": str(self.root / self.email / "state"),
            "SYFT_FLWR_POLL_INTERVAL": str(POLL_INTERVAL),
            "PYTHONPATH": os.pathsep.join(
                [str(_FAULTS), str(_FAULTS.parent / "kits"), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }

    def start(self, *command: str, parent: str = "") -> "subprocess.Popen[bytes]":
        """Start ``syft-flwr`` with these arguments, by default as the client of this data owner.

        Args:
            command: the arguments.
            parent: statements that run before it in the same process. They may use ``signal``.
        """
        program = "from syft_flwr.cli import main; main()"
        if parent:
            start = f"os.execv(sys.executable, [sys.executable, '-c', {program!r}, *sys.argv[1:]])"
            program = f"import os, signal, sys; {parent}; {start}"
        arguments = command or ("client", str(self.project))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments], env=self.environment, stdout=log, stderr=log
            )
        return self.process

    def kill(self) -> None:
        """Kill the process with SIGKILL and wait for its end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
