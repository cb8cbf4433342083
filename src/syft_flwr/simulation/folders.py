"""Creates the folders of a simulated run: output and logs, which are kept, and a temporary folder, which is deleted."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.config.search import FIELDS
from syft_flwr.config.user_config import UserConfigValue
from syft_flwr.config.values import absolute, utf8_path
from syft_flwr.errors import ConfigError
from syft_flwr.files import write_private
from syft_flwr.fl_orchestrator.import_path import without_current_folder
from syft_flwr.private_files import make_private_folder
from syft_flwr.runs.local_run import LocalRun
from syft_flwr.simulation.federation import OF_RUNS, Federation, Seat
from syft_flwr.simulation.log_file import require_own, rewrite
from syft_flwr.simulation.stand_in import StandIn, open_stand_in
from syft_flwr.simulation.temporary_folder import TemporaryFolder
from syft_flwr.text import without_codes

_DATA_DIR, _OUTPUT_DIR = FIELDS["user_data_dir"].environment, FIELDS["output_dir"].environment
#: Prefixes of variables of one participant. The caller's own are not passed to the simulated participants.
_PERSONAL = ("SYFT", "GDRIVE")
_OF_RUNS = {FIELDS[name].environment for name in OF_RUNS}
#: Variables with which a program writes codes for colours into a file, too.
_FORCES_COLOURS = {"FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "LOGURU_COLORIZE"}


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that are kept after the run. They exist already."""

    output: Path
    logs: Path

    @classmethod
    def make(cls, federation: Federation, output_dir: str | Path | None, log_dir: str | Path | None) -> Self:
        """Create the folders; ConfigError if one cannot be created, or a file of another program has the place of a log."""
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
                f"a folder of the run cannot be created: {error.filename}: {error.strerror}",
                hint="Choose other folders for the output and the logs.",
            ) from error
        folders = cls(output, logs)
        for path in map(folders.log, federation.seats):
            require_own(path)
        return folders

    def log(self, seat: Seat) -> Path:
        return self.logs / f"{seat.label}.log"

    def clean_log(self, seat: Seat) -> None:
        """Remove the codes for colours from the log of a participant, which has ended: an app may write them always."""
        rewrite(self.log(seat), _without_codes)

    def output_since(self, started: datetime) -> bool:
        """Return whether a file in the output folder was written after the begin of a run."""
        # The times of some file systems have only even seconds.
        begin = started.timestamp() - 2
        with contextlib.suppress(OSError):
            return any(path.stat().st_mtime >= begin for path in self.output.rglob("*") if path.is_file())
        return False


def _without_codes(line: bytes) -> bytes:
    return without_codes(line.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _absolute(path: str | Path) -> Path:
    return utf8_path(absolute(Path(path).expanduser()), "a folder of the run")


def _make_new(parent: Path) -> Path:
    """Create a folder with the current time as its name; add a number if it exists."""
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
    """The temporary folder of a run: the shared storage and a private folder for each participant.

    It is deleted on exit, unless ``keep_files`` is set. The records of the participants are outside it, if they can be
    kept.
    Folder names contain the full email, so ``data@a.org`` and ``data@b.org`` have different folders.
    """

    def __init__(self, federation: Federation, folders: Folders, *, keep_files: bool) -> None:
        self._federation = federation
        self._logs = folders.logs
        self._temporary = TemporaryFolder(keep=keep_files)
        self.path = self._temporary.path
        self._storage: StandIn | None = None

    def __enter__(self) -> Self:
        emails = [seat.email for seat in self._federation.seats]
        try:
            self._storage = open_stand_in(self._federation.transport, emails, self.path, self._logs)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def link_records(self, records: LocalRun) -> None:
        """Let the processes of all participants write their records into the folder of the local run."""
        for seat in self._federation.seats:
            app_home = self.state(seat) / seat.email / "apps" / self._federation.app_name
            make_private_folder(app_home)
            with contextlib.suppress(FileExistsError):
                # An email that is both aggregator and datasite has two seats and one home.
                (app_home / "runs").symlink_to(records.records(seat.email))

    @property
    def storage(self) -> StandIn:
        """Return the shared storage; RuntimeError outside the ``with`` block."""
        if self._storage is None:
            raise RuntimeError("the sandbox is not entered")
        return self._storage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._storage:
            self._storage.close()
        self._temporary.close()

    def state(self, seat: Seat) -> Path:
        """Return the folder with the home of a participant."""
        return self.path / seat.email / "state"

    def _write_config(self, name: str, values: Mapping[str, UserConfigValue]) -> str:
        """Write a configuration to a private file, because child processes inherit the environment; return its path."""
        import tomlkit

        path = self.path / name
        write_private(path, tomlkit.dumps(dict(values)).encode())
        return str(path)

    def environment(self, seat: Seat, output: Path) -> dict[str, str]:
        """Return the environment for the process of a participant."""
        settings: dict[str, str] = {
            "transport": self._federation.transport,
            "role": seat.role,
            "home": str(self.state(seat)),
            "app_name": self._federation.app_name,
            "aggregator": self._federation.aggregator,
            "datasites": ",".join(self._federation.datasites),
            # The supervisor shows the run.
            "display": "false",
        }
        if seat.role == "server" and self._federation.tracking:
            settings["tracking"] = ",".join(self._federation.tracking)
            if self._federation.tensorboard_folder:
                settings["tensorboard_folder"] = str(self._federation.tensorboard_folder)
        if seat.role == "server" and self._federation.run_config_overrides:
            settings["run_config_overrides"] = self._write_config(
                "run-config.toml", self._federation.run_config_overrides
            )
        scrubbed = {
            name: value
            for name, value in without_current_folder(os.environ).items()
            if (not name.startswith(_PERSONAL) or name in _OF_RUNS)
            and name not in {_DATA_DIR, _OUTPUT_DIR, *_FORCES_COLOURS}
        }
        if seat.node_config:
            settings["node_config"] = self._write_config(f"{seat.label}.node-config.toml", seat.node_config)
        own = {_OUTPUT_DIR: str(output)} if seat.data is None else {_DATA_DIR: str(seat.data)}
        return {
            **scrubbed,
            **{FIELDS[name].environment: value for name, value in settings.items()},
            **own,
            **self.storage.environment(seat.email),
            # The log must not lag behind the process: people read it during the run, and after a kill.
            "PYTHONUNBUFFERED": "1",
            # https://no-color.org
            "NO_COLOR": "1",
        }
