"""The machines of a page, with a network between them: SyftBox or Google Drive, both emulated."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from waiting import eventually

from dockit.checkout import copy_checkout
from dockit.environment import PythonEnvironment, clean_variables
from dockit.machine import Machine
from dockit.processes import Mark
from dockit.rules import StageLine

#: Seconds between two scans of an emulated SyftBox client, in place of the 5 s of SyftBox.
_CYCLE = "0.5"


class Stage:
    """All machines of a page.

    Args:
        root: an empty folder, which a caller deletes.
    """

    def __init__(self, line: StageLine, root: Path, mark: Mark) -> None:
        self.machines: dict[str, Machine] = {}
        self._root = root
        self._mark = mark
        self._network: subprocess.Popen[bytes] | None = None
        self._python: PythonEnvironment
        self._line = line

    def set_up(self) -> None:
        """Make the folders and the environment, and start the network."""
        checkout = self._root / "checkout"
        copy_checkout(checkout)
        plain = self._variables(self._root / "setup")
        self._python = PythonEnvironment(self._root / "environment", plain)
        if not self._line.fresh:
            self._python.install_checkout(checkout)
        match self._line.name:
            case "syftbox":
                self._open_syftbox(checkout)
            case "drive":
                self._open_drive(checkout)
            case _:
                # All terminals of one machine have its home and its folder.
                home = self._root / "home"
                for name in self._line.emails or [""]:
                    self._add(name, home, home / "syft-flwr", {})
                shutil.copytree(checkout, home / "syft-flwr")

    def close(self) -> None:
        for machine in self.machines.values():
            machine.close()
        if self._network:
            self._network.kill()
            self._network.wait()

    def _variables(self, home: Path) -> dict[str, str]:
        home.mkdir(parents=True, exist_ok=True)
        temporary = self._root / "tmp"
        temporary.mkdir(exist_ok=True)
        return {**clean_variables(home, temporary), **self._mark.environment}

    def _add(self, name: str, home: Path, folder: Path, more: Mapping[str, str]) -> None:
        variables = {**self._python.variables(self._variables(home)), **more}
        self.machines[name] = Machine(folder, variables, self._root / "scripts" / (name or "all"))

    def _open_syftbox(self, checkout: Path) -> None:
        network = self._root / "machines"
        emails = [option for email in self._line.participants for option in ("--email", email)]
        options = ["--root", str(network), "--faithful", "--scan-interval", _CYCLE, *emails]
        self._start("syft_flwr.emulators.syftbox", options, lambda line: line.startswith("running"))
        for name, email in self._line.emails.items():
            # The home of the machine, so that the data folder is ~/SyftBox.
            home = network / email
            config = home / ".syftbox" / "config.json"
            config.parent.mkdir()
            (home / "config.json").rename(config)
            shutil.copytree(checkout, home / "syft-flwr")
            self._add(name, home, home / "syft-flwr", {})

    def _open_drive(self, checkout: Path) -> None:
        users = [option for email in self._line.participants for option in ("--user", email)]
        options = ["--tokens", str(self._root / "tokens"), *users]
        ready = json.loads(self._start("syft_flwr.emulators.gdrive", options, lambda line: line.startswith("{")))
        for name, email in self._line.emails.items():
            home = self._root / "machines" / email
            token = home / ".syft_flwr" / email / "gdrive_token.json"
            token.parent.mkdir(parents=True, mode=0o700)
            shutil.copy2(ready["tokens"][email], token)
            shutil.copytree(checkout, home / "syft-flwr")
            self._add(name, home, home / "syft-flwr", {"SYFT_FLWR_GDRIVE_API": ready["url"]})

    def _start(self, module: str, options: list[str], is_ready: Callable[[str], bool]) -> str:
        """Start an emulator, and return the line with which it is ready."""
        output = self._root / "network.log"
        with output.open("wb") as log:
            command = [sys.executable, "-m", module, *options]
            environment = self._variables(self._root / "setup")
            self._network = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        emulator = self._network

        def ready() -> str:
            assert emulator.poll() is None, f"{module} ended:\n{output.read_text()}"
            return next(filter(is_ready, output.read_text().splitlines()), "")

        return eventually(ready, f"{module} is ready")
