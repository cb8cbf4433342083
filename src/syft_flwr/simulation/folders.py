"""The folders of a simulated run: output and logs, which stay, and a temporary folder, which does not."""

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.config.search import FIELDS
from syft_flwr.errors import ConfigError
from syft_flwr.simulation.federation import Federation, Seat
from syft_flwr.simulation.stand_in import StandIn, open_stand_in

_DATA_DIR, _OUTPUT_DIR = FIELDS["user_data_dir"].environment, FIELDS["output_dir"].environment
#: About one participant; none of the caller's reaches another one.
_PERSONAL = ("SYFT", "GDRIVE")
#: Seconds in which a worker whose watcher was killed writes its last file.
_LAST_WRITES = 5.0


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that stay, made already."""

    output: Path
    logs: Path

    @classmethod
    def make(cls, federation: Federation, output_dir: str | Path | None, log_dir: str | Path | None) -> Self:
        """Make them; ConfigError if one cannot be made."""
        output = _absolute(output_dir or os.environ.get(_OUTPUT_DIR, "").strip() or "output")
        try:
            output.mkdir(parents=True, exist_ok=True)
            if log_dir:
                logs = _absolute(log_dir)
                logs.mkdir(parents=True, exist_ok=True)
            else:
                logs = _make_new(federation.project_dir / "logs")
        except OSError as error:
            raise ConfigError(
                f"a folder of the run cannot be made: {error.filename}: {error.strerror}",
                hint="Name other folders for the output and the logs.",
            ) from error
        return cls(output, logs)

    def log(self, seat: Seat) -> Path:
        return self.logs / f"{seat.label}.log"


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _make_new(parent: Path) -> Path:
    """Make a folder that is named by the time; two runs of the same second get two."""
    name = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


class Sandbox:
    """The storage that all participants share, and a private folder for each; removed on leaving.

    Everything is named by the full email, so that ``data@a.org`` and ``data@b.org`` stay two.
    """

    def __init__(self, federation: Federation, folders: Folders, *, keep: bool) -> None:
        self._federation = federation
        self._logs = folders.logs
        self._keep = keep
        self.path = Path(tempfile.mkdtemp(prefix="syft-flwr-run-"))
        self._storage: StandIn | None = None

    def __enter__(self) -> Self:
        emails = [seat.email for seat in self._federation.seats]
        try:
            self._storage = open_stand_in(self._federation.transport, emails, self.path, self._logs)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    @property
    def storage(self) -> StandIn:
        """Return the storage between the participants; RuntimeError before this is entered."""
        if self._storage is None:
            raise RuntimeError("the sandbox is not entered")
        return self._storage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._storage:
            self._storage.close()
        deadline = time.monotonic() + _LAST_WRITES
        while not self._keep and self.path.exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(self.path)
                return
            if time.monotonic() > deadline:
                shutil.rmtree(self.path, ignore_errors=True)
                return
            time.sleep(0.05)

    def state(self, seat: Seat) -> Path:
        """The folder that holds the participant's databases somewhere below."""
        return self.path / seat.email / "state"

    def environment(self, seat: Seat, output: Path) -> dict[str, str]:
        """Return the environment of the participant's process."""
        settings = {
            "transport": self._federation.transport,
            "role": seat.role,
            "home": str(self.state(seat)),
            "app_name": self._federation.app_name,
            "aggregator": self._federation.aggregator,
            "datasites": ",".join(self._federation.datasites),
        }
        scrubbed = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_PERSONAL) and name not in {_DATA_DIR, _OUTPUT_DIR}
        }
        own = {_OUTPUT_DIR: str(output)} if seat.data is None else {_DATA_DIR: str(seat.data)}
        return {
            **scrubbed,
            **{FIELDS[name].environment: value for name, value in settings.items()},
            **own,
            **self.storage.environment(seat.email),
            # A log that is behind its process tells nothing about where that stands.
            "PYTHONUNBUFFERED": "1",
        }
