"""A run of this machine that is looked at while another process serves it, and the choice of the latest one.

A look reads the record, and takes no lock. It works while the run is served, and for each side and each local run.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import get_args

from syft_flwr._store.states import RunState
from syft_flwr.app_names import normalise_app_name
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config import Settings
from syft_flwr.emails import normalise
from syft_flwr.errors import ConfigError, RunError, StorageError
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.finding import find_run
from syft_flwr.runs.listing import SIDES, Run, local_runs_of, runs_of
from syft_flwr.runs.local_run import INTERRUPTED
from syft_flwr.runs.peer_view import SILENT
from syft_flwr.runs.record import Role
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.runs.recorded_run import RecordedRun, read_record, view_of_run
from syft_flwr.runs.serving_process import has_lost_its_lock
from syft_flwr.runs.stop_request import LOCAL, StopRequest
from syft_flwr.runs.view import RunView
from syft_flwr.text import role_word

#: The states of a run without an end.
_OPEN = (RunState.RUNNING.value, INTERRUPTED)


class WatchedRun:
    """One run at one participant of this machine. Each look reads only the new entries of its record.

    Args:
        settings: the settings of the participant.
        run_id: the id of the run, or the name of a local run.
        role: ``aggregator`` or ``datasite``; by default the aggregator's side, if it is on this machine.
        email: the participant of a local run.
        clock: the clock of this machine.
        obstacle: returns a problem of this machine that the record cannot tell, with its next step; empty without one.

    Raises:
        ConfigError: no such run is recorded here.
        StoreError: the database that has its state cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        *,
        role: str | None = None,
        email: str | None = None,
        clock: Clock | None = None,
        obstacle: Callable[[], str] = str,
    ) -> None:
        self._obstacle = obstacle
        self._find = partial(find_run, settings, run_id, role=role, email=email)
        self._clock = clock or SystemClock()
        self._found = self._find()
        self._reader = RecordReader(self._found.paths.record)
        self._account = RunAccount()
        self._process = ""
        #: Why the record cannot be read now, with the next step.
        self._failure = ""

    @property
    def found(self) -> RecordedRun:
        """Return the run as it was found last."""
        return self._found

    def stop_request(self) -> tuple[Path, StopRequest]:
        """Return the folder and the content of a request to end this run in the process that serves it.

        Raises:
            RunError: the record does not tell the process, because it was deleted. At the next beat, it does again.
        """
        self._read()
        found = self._found
        if found.local:
            # The home of each participant is in the folder of the run.
            return found.paths.home.parent, StopRequest(found.local, LOCAL, found.local)
        if not self._process:
            raise RunError(
                f"run {found.id} cannot be asked to stop: its record {found.paths.record} does not tell its process",
                hint="End the process itself: Ctrl-C where it runs, or SIGTERM to the number in the file server.lock or "
                "client.lock of its app.",
            )
        return self._app_home, StopRequest(str(found.run_id), found.role, self._process)

    @property
    def _app_home(self) -> Path:
        return self._found.paths.home / "apps" / self._found.app

    @property
    def is_served(self) -> bool:
        """Return whether a process has the lock of the run. It may serve another run of this app."""
        return self._found.is_served()

    def look(self) -> RunView:
        """Return the view of the run at this moment.

        Raises:
            StorageError: the database cannot be read.
            RunError: the run is gone, because its home was moved or deleted.
        """
        # First, so that no entry is missed that a process writes just before its end.
        served = self.is_served
        if not self._found.run_id:
            # The server of a local run begins its run some seconds later.
            self._found_again()
        self._read()
        if not served and self._found.state in _OPEN:
            # The database knows the end also if the record is lost.
            self._found_again()
        return self._view(served=served)

    def _found_again(self) -> None:
        try:
            self._found = self._find()
        except ConfigError as error:
            raise RunError(
                f"run {self._found.id} is not in {self._found.paths.home} any more, where it was before",
                hint="If this folder was moved, name its new place with SYFT_FLWR_HOME. Its process needs a restart.",
            ) from error
        if self._found.run_id and not self._account.state:
            self._reader = RecordReader(self._found.paths.record)
            self._read()

    def _read(self) -> None:
        self._failure = ""
        try:
            for entry in read_record(self._reader):
                self._account.add(entry)
                self._process = entry.process
        except StorageError as error:
            self._failure = f"{error}. {error.hint}"
        # The begin of a record that was lost is not written again.
        self._account.role = self._account.role or (self._found.role if self._account.updated else "")

    def _gap(self) -> str:
        """Return the part of the record that cannot be read; empty if there is none."""
        path, account = self._found.paths.record, self._account
        if self._failure:
            return f"The record {path} cannot be read, so new rounds and replies are not shown: {self._failure}"
        if account.state or not self._found.run_id:
            return ""
        if account.updated:
            return f"The record {path} has lost its begin, so only the events since then are counted"
        if self._found.local and not path.exists():
            return "" if self._found.is_served() else "This participant ended before it took part in the run"
        return f"The record {path} is missing or damaged, so rounds and participants are not known"

    def _view(self, *, served: bool) -> RunView:
        found, state = self._found, self._found.state
        if served and state in _OPEN:
            # A local run ends after its server, when all its processes have ended.
            state = RunState.RUNNING.value if found.local else ""
        view = view_of_run(found, self._account, self._clock.now(), state=state, is_served=served)
        return replace(view, problem=self._gap() or (self._problem() if view.is_open else ""))

    def _problem(self) -> str:
        # Nothing leaves this machine in a local run.
        return "" if self._found.local else self._lost_lock() or self._obstacle()

    def _lost_lock(self) -> str:
        lock = self._app_home / next(side.lock for side in SIDES if side.role == self._found.role)
        if not has_lost_its_lock(lock, self._found.paths.record):
            return ""
        return f"The file {lock} was deleted, so a second process could serve this run; restart the first one"


def latest_run(settings: Settings, *, role: str | None = None, email: str | None = None) -> tuple[str, str]:
    """Return the id and the role of the latest run: one that a process serves, else one of this participant, else a local one.

    Args:
        settings: the settings of a participant; with an app name, its runs of that app come first.
        role: ``aggregator`` or ``datasite``; by default any.
        email: the participant of the settings, if only its own local runs count; by default all local runs do.

    Raises:
        ConfigError: there is no run on this machine, or the email is not set.
        StoreError: no run was found, and a folder or a database that may have one cannot be read.
    """
    if role not in (None, *get_args(Role)):
        raise ConfigError.not_allowed("role", role, ", ".join(get_args(Role)))
    mine, problems = runs_of(settings.home) if settings.home else ([], [])
    mine = [run for run in mine if role in (None, run.role)]
    local, local_problems = local_runs_of(settings.base, normalise(email) if email else None)
    served = [run for run in (*mine, *local) if run.state in (RunState.RUNNING.value, SILENT)]
    app = normalise_app_name(settings.app_name) if settings.app_name else None
    for runs in (served, [run for run in mine if run.app == app], mine, local):
        if runs:
            latest = max(runs, key=_started)
            return latest.id, (role or latest.role)
    for problem in (*problems, *local_problems):
        # It may have a run.
        raise problem
    if not settings.email:
        settings.require("email")
    whom = " ".join(filter(None, (role and role_word(role), email)))
    raise ConfigError(
        "no run has started on this machine" + (f" ({whom})" if whom else ""),
        hint="Start one with `syft-flwr run`, `syft-flwr server` or `syft-flwr client`.",
    )


def _started(run: Run) -> datetime:
    return run.row.started
