"""One training with a server and data owners, which a test kills and restarts until the training is complete."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from chaoskit.nursery import DS, MACHINES, owner, participant
from faithful_settings import faithful_settings
from leftovers import assert_nothing_left, files_below

from syft_flwr.emulators.gdrive import Emulator
from syft_flwr.emulators.syftbox import SyftBoxNetwork
from syft_flwr.runs.listing import runs_of

PATIENCE = 120.0
#: Suffixes of the files of a message, and of files that are being written.
MESSAGE_FILES = {".request", ".response", ".blob", ".tmp"}
#: Folders with files that stay after a run: heartbeats and key cards.
STAYING = {"status", "public"}


class Nursery:
    """The parent process of all participants, which are forks of it. One serves many trainings."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "chaoskit.nursery"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, words: str) -> int:
        """Start a participant, and return its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


@dataclass
class Child:
    """One participant, with its present process and its number of starts."""

    words: str
    pid: int = 0
    starts: int = 0


@dataclass
class Chaos:
    """A federation on this machine. A test can kill each of its processes."""

    nursery: Nursery
    folder: Path
    rounds: int
    datasites: int = 2
    #: The Google Drive between the participants; None for SyftBox folders.
    drive: Emulator | None = None
    #: Whether each participant has SyftBox folders of its own, which the emulator synchronises; otherwise they share one.
    synced: bool = False
    #: The data owners with a worker process for the app, which takes a second to start; None for all.
    workers: Collection[str] | None = None
    children: dict[str, Child] = field(init=False)
    network: SyftBoxNetwork | None = None

    def __enter__(self) -> "Chaos":
        self.folder.mkdir(parents=True)
        (self.folder / "box").mkdir()
        emails = [DS, *(owner(n) for n in range(self.datasites))]
        if self.drive:
            for email in emails:
                self.drive.write_token(email, self.folder / f"{email}.token")
            (self.folder / "drive").write_text(self.drive.url)
        if self.synced:
            settings = faithful_settings(self.folder)
            self.network = SyftBoxNetwork(self.folder / MACHINES, emails, settings=settings)
            self.network.start()
        self.children = {"server": Child("server")}
        for number in range(self.datasites):
            name = f"owner{number}"
            where = "worker" if self.workers is None or name in self.workers else "inside"
            self.children[name] = Child(f"owner {owner(number)} {where}")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.children:
            self.kill(name)
        # Workers end by themselves after the end of their client.
        self.eventually(lambda: not list(self._left()), "the end of every process")
        if self.network:
            self.network.stop()

    def start(self, name: str, point: str = "-") -> None:
        """Start a participant. It kills itself at the crash point ``point``, if that is not ``-``."""
        child = self.children[name]
        child.pid = self.nursery.start(f"{self.folder} {self.datasites} {self.rounds} {child.words} {point}")
        child.starts += 1

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of the latest process of a participant; None while it runs."""
        with contextlib.suppress(FileNotFoundError):
            return int((self.folder / f"{self.children[name].pid}.exit").read_text())
        return None

    def kill(self, name: str) -> None:
        """Kill a participant if it runs, and wait for its end."""
        child = self.children[name]
        if child.pid and self.exit_code(name) is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            self.eventually(lambda: self.exit_code(name) is not None, f"the end of {name}")

    def pause(self, *names: str) -> None:
        """Let running participants sleep until :meth:`resume`."""
        for name in names:
            os.kill(self.children[name].pid, signal.SIGSTOP)

    def resume(self, *names: str) -> None:
        """Let paused participants continue."""
        for name in names:
            os.kill(self.children[name].pid, signal.SIGCONT)

    def permit(self, rounds: int) -> None:
        """Permit the ServerApp this number of rounds."""
        temporary = self.folder / "permitting"
        temporary.write_text(str(rounds))
        temporary.rename(self.folder / "permitted")

    def finish(self) -> dict[str, Any]:
        """Start each participant that is down, wait for the end of the training, and return the result."""
        self.permit(self.rounds)
        for name in self.children:
            # A server that has finished would start another run.
            finished = name == "server" and self.exit_code(name) == 0
            if not finished and (self.exit_code(name) is not None or not self.children[name].pid):
                self.start(name)
        self.eventually(lambda: self.exit_code("server") is not None, "the end of the training")
        assert self.exit_code("server") == 0, self.log("server")
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return result

    def end_owners(self, *, patience: float = 1.0) -> None:
        """Wait until each data owner has stopped with the run. End the others with SIGTERM.

        A process stops with the run if it has served it: when the last file of the run is deleted. It gets ``patience``
        seconds for that.
        """
        for name in self.children:
            if name == "server":
                continue
            with contextlib.suppress(TimeoutError):
                self.eventually(
                    lambda name=name: self.exit_code(name) is not None or not self.left_over(), "a stop", patience=20.0
                )
                self.eventually(lambda name=name: self.exit_code(name) is not None, "its end", patience=patience)
            if self.exit_code(name) is None:
                os.kill(self.children[name].pid, signal.SIGTERM)
                self.eventually(lambda name=name: self.exit_code(name) is not None, f"the end of {name}")

    def assert_nothing_left(self) -> None:
        """Check, after the end of all participants, that no message is left."""
        if self.network:
            with contextlib.ExitStack() as stack:
                clients = [participant(self.folder, email, self.datasites) for email in self.network.participants]
                for client in clients:
                    stack.callback(client.transport.close)
                assert_nothing_left(self.network, clients)
        left = self.left_over()
        assert left == [], left

    def left_over(self) -> list[str]:
        """Return the message files that still exist, in the shared folders and in the homes."""
        shared = [*paths_below(self.folder / "box"), *paths_below(self.folder / MACHINES)]
        found = [path for path in shared if path.suffix in MESSAGE_FILES and path.parent.name not in STAYING]
        found += (path for path in paths_below(self.folder / "home") if path.parts[-4] == "journal")
        in_drive = [file.name for file in self.drive.files() if "folder" not in file.mime_type] if self.drive else []
        return [
            *(str(path.relative_to(self.folder)) for path in found),
            *(name for name in in_drive if not name.endswith("/public/syft_flwr.json")),
        ]

    def states(self) -> dict[str, list[str]]:
        """Return the states of the runs that each participant recorded in its database, oldest first."""
        found = {}
        for email in (DS, *(owner(n) for n in range(self.datasites))):
            runs, problems = runs_of(self.folder / "home" / email)
            assert not problems
            found[email] = [run.state for run in runs]
        return found

    def rounds_done(self) -> int:
        return len(list(self.folder.glob("round-*")))

    def log(self, name: str) -> str:
        """Return the end of a participant's log; nothing before its start."""
        path = self.folder / ("-".join(self.children[name].words.split()[:2]) + ".log")
        return path.read_text()[-4000:] if path.exists() else ""

    def eventually(self, condition: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {patience:g} s: {what}")
            time.sleep(0.01)

    def _left(self) -> Iterator[int]:
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder) in " ".join(process.info["cmdline"] or ()):
                yield process.pid


def paths_below(folder: Path) -> list[Path]:
    """Return the paths of the files below a folder."""
    return [folder / name for name in files_below(folder)]


def undisturbed(
    nursery: Nursery, folder: Path, rounds: int, drive: Emulator | None = None, *, synced: bool = False
) -> dict[str, Any]:
    """Return the result of a training without a kill."""
    with Chaos(nursery, folder, rounds, drive=drive, synced=synced) as chaos:
        result = chaos.finish()
        chaos.end_owners()
        chaos.assert_nothing_left()
    return result


def random_kills(chaos: Chaos, kills: int, seed: int) -> None:
    """Kill and restart random participants while the training continues round by round."""
    chooser = random.Random(seed)
    for name in chaos.children:
        chaos.start(name)
    for number in range(kills):
        # The last round stays for the time after the last kill.
        chaos.permit(1 + number * (chaos.rounds - 1) // kills)
        time.sleep(chooser.uniform(0.0, 0.5))
        name = chooser.choice(list(chaos.children))
        chaos.kill(name)
        chaos.start(name)
