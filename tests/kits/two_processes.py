"""A server and a client of the tiny project as real processes on one machine, each with its own home."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
from tiny_project import DO1, DS, Tiny
from waiting import PATIENCE, eventually

from syft_flwr.config import Settings, load_settings
from syft_flwr.runs.watched_run import WatchedRun, latest_run

#: Settings of the data owner; its worker starts with the first request.
OWNERS = (DO1,)


class TwoProcesses:
    """The aggregator and one data owner of a run whose request never ends. Use it in a ``with`` block.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiny = Tiny(folder, datasites=OWNERS)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: list[subprocess.Popen[str]] = []
        for email in (DS, DO1):
            (folder / email).mkdir()
            known = {"email": email, "data_dir": str(folder / "SyftBox"), "server_url": ""}
            (folder / email / "config.json").write_text(json.dumps(known))

    def __enter__(self) -> "TwoProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        ended = [child for process in self.running.values() for child in _family(process)]
        for child in ended:
            try:
                child.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        for process in self.running.values():
            process.wait(PATIENCE)
        for command in self._commands:
            if command.poll() is None:
                command.kill()
                command.communicate(timeout=PATIENCE)
            for stream in (command.stdout, command.stderr):
                if stream:
                    stream.close()

    def environ(self, email: str) -> dict[str, str]:
        folder = self.folder / email
        return {
            "SYFTBOX_CLIENT_CONFIG_PATH": str(folder / "config.json"),
            "SYFT_FLWR_HOME": str(folder / "home"),
            "OUTPUT_DIR": str(folder),
            "DATA_DIR": str(self.tiny.data[0]),
            "TINY_TASK": "hang",
        }

    def start(self, email: str, *options: str) -> subprocess.Popen[bytes]:
        """Start the server or the client, with its log in the folder of the participant."""
        role = "server" if email == DS else "client"
        command = [self.tiny.command()[0], role, str(self.tiny.folder), *options]
        with (self.folder / email / "log").open("ab") as log:
            environ = os.environ | self.environ(email)
            started = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=self.folder)
        self.running[email] = started
        return started

    def log(self, email: str) -> str:
        return (self.folder / email / "log").read_text(errors="replace")

    def start_both(self) -> None:
        """Start both, and wait until the app of the data owner works."""
        self.start(DO1)
        self.start(DS)
        eventually(lambda: self.tiny.hangs, "the work of the app")

    def settings(self, email: str) -> Settings:
        return load_settings(self.tiny.folder, environ=os.environ | self.environ(email))

    def watch(self, email: str) -> WatchedRun:
        """Return the latest run of a participant."""
        settings = self.settings(email)
        run, role = latest_run(settings)
        return WatchedRun(settings, run, role=role)

    def command(self, email: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a further command of a participant."""
        command = subprocess.Popen(
            [self.tiny.command()[0], *arguments],
            env=os.environ | self.environ(email),
            cwd=self.tiny.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        # It ends with the test, also if the test fails.
        self._commands.append(command)
        return command


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        me = psutil.Process(process.pid)
        return [*me.children(recursive=True), me]
    except psutil.NoSuchProcess:
        return []
