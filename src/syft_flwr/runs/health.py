"""Tells whether the processes of a participant work, for probes: fast, without a lock, a write or a network.

A client is judged by its lock and its file ``client.health``; a server by its lock and by the beats in its records.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from syft_flwr.app_names import normalise_app_name
from syft_flwr.errors import ConfigError
from syft_flwr.locks import is_held
from syft_flwr.runs.health_file import SERVING, Told, read_health
from syft_flwr.text import duration, printable

#: Seconds without a statement, more than announced, after which a process stands still.
DEFAULT_PATIENCE = 60.0
#: Seconds of a time in the future that the clocks of a file system and of the machine can differ.
_CLOCK_STEP = 2.0
#: Apps of one participant, and records of one app, that are looked at.
_MOST_APPS, _MOST_RECORDS = 1_000, 10_000

READY, IS_STARTING, CUT_OFF, SILENT, NOT_RUNNING = "ready", "starting", "cut-off", "silent", "not-running"
#: The next step of a person, by state.
_NEXT_STEPS = {
    IS_STARTING: "Wait until it has loaded its app; its log tells more.",
    CUT_OFF: "It tries again by itself. Run `syft-flwr doctor` to see the cause.",
    SILENT: "Restart it. If it was stopped with `kill -STOP`, continue it with `kill -CONT`.",
    NOT_RUNNING: "Start it with `syft-flwr client --keep`, or as a service: `systemctl --user status` tells why it ended.",
}


@dataclass(frozen=True, slots=True)
class ProcessHealth:
    """The health of the process of one app and role."""

    app: str
    role: str
    state: str
    text: str

    @property
    def is_live(self) -> bool:
        """Return whether a restart would not help: the process runs and does not stand still."""
        return self.state in (READY, IS_STARTING, CUT_OFF)

    @property
    def is_ready(self) -> bool:
        """Return whether the process also answers, as far as it knows."""
        return self.state == READY

    @property
    def next_step(self) -> str:
        return _NEXT_STEPS.get(self.state, "")

    def as_fields(self) -> dict[str, Any]:
        return {"app": self.app, "role": self.role, "state": self.state, "text": self.text, "live": self.is_live}


def find_health(home: Path, app: str, patience: float, obstacle: str = "") -> list[ProcessHealth]:
    """Return the health of each process of an app, or one entry with the state ``not-running``.

    Args:
        home: the home of the participant.
        app: the name of the app.
        patience: seconds without a statement, more than announced, after which a process stands still.
        obstacle: why nothing can be exchanged at this moment; empty if that is not known.
    """
    folder = home / "apps" / app
    found = []
    if is_held(folder / "client.lock"):
        found.append(_client(app, read_health(folder), patience, obstacle))
    if is_held(folder / "server.lock"):
        found.append(_server(app, folder, patience, obstacle))
    return found or [ProcessHealth(app, "", NOT_RUNNING, f"no client and no server of {app} runs")]


def started_apps(home: Path) -> list[str]:
    """Return the apps that were started in this home, sorted. Other names and links are skipped."""
    with suppress(OSError), os.scandir(home / "apps") as entries:
        return sorted(_names(entries))
    return []


def _names(entries: Iterator[os.DirEntry[str]]) -> Iterator[str]:
    for entry in islice(entries, _MOST_APPS):
        with suppress(ConfigError, OSError):
            if normalise_app_name(entry.name) == entry.name and entry.is_dir(follow_symlinks=False):
                yield entry.name


def _client(app: str, told: Told | None, patience: float, obstacle: str) -> ProcessHealth:
    def health(state: str, text: str) -> ProcessHealth:
        return ProcessHealth(app, "client", state, f"the client of {app} {text}")

    if told is None:
        return health(SILENT, "runs, but has written nothing about itself")
    if told.phase != SERVING:
        return health(IS_STARTING, f"is starting for {duration(told.age)}")
    if told.age > told.within + patience:
        return health(SILENT, f"has looked at no file for {_shown(told.age)}")
    if trouble := told.trouble or obstacle:
        return health(CUT_OFF, f"is cut off: {printable(trouble)}")
    return health(READY, f"serves; its last look at the files was {_shown(told.age)} ago")


def _shown(age: float) -> str:
    return duration(age) if age < 1e9 else "a time before this start of the machine"


def _server(app: str, folder: Path, patience: float, obstacle: str) -> ProcessHealth:
    # At its start, it writes its number into its lock.
    times = [*_times(folder, "server.lock"), *_times(folder / "runs", ".aggregator.")]
    now = time.time()
    # After the clock was set back, a file from before has a time in the future, which tells nothing.
    age = now - max((each for each in times if each <= now + _CLOCK_STEP), default=0.0)
    if age > patience:
        return ProcessHealth(app, "server", SILENT, f"the server of {app} runs, but writes nothing into its record")
    if obstacle:
        return ProcessHealth(app, "server", CUT_OFF, f"the server of {app} is cut off: {printable(obstacle)}")
    return ProcessHealth(app, "server", READY, f"the server of {app} works")


def _times(folder: Path, part: str) -> Iterator[float]:
    """Yield the times of the last write to the files with this part of a name."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _MOST_RECORDS):
            with suppress(OSError):
                if part in entry.name:
                    yield entry.stat(follow_symlinks=False).st_mtime
