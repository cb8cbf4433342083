"""Lists the runs of all apps of one participant, for people and scripts.

State, cause, start and resumes come from the databases. Rounds and counts come from the records, which may be lost.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.run_table import RunRow
from syft_flwr._store.states import RunState
from syft_flwr.disk_errors import hint_of
from syft_flwr.errors import StoreError
from syft_flwr.locks import is_held
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.events import CONTROL
from syft_flwr.runs.local_run import INTERRUPTED, LocalRun, LocalSeat, local_runs
from syft_flwr.runs.outcome import Loss, losses_of, shown_losses, shown_state
from syft_flwr.runs.record import Role, record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.serving_process import has_lost_its_lock
from syft_flwr.runs.status import RunStatus, RunStatuses, status_of
from syft_flwr.runs.view import state_now
from syft_flwr.text import role_word, shortened

#: The most characters of a cause in a table. The account of the run has all of it.
_MAX_CAUSE = 160


@dataclass(frozen=True, slots=True)
class Side:
    """The files of one side of an app in the home of a participant."""

    role: Role
    lock: str
    database: str
    #: Opens the database to read it only.
    open: Callable[[Path], Futures | Ledger]


SIDES = (
    Side("aggregator", "server.lock", "futures.db", partial(Futures, read_only=True)),
    Side("datasite", "client.lock", "ledger.db", partial(Ledger, read_only=True)),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run at one side of an app. ``state`` is its recorded state, or :data:`INTERRUPTED`, or
    :data:`~syft_flwr.runs.view.SILENT`.

    ``status`` has its counts; None if its record was lost. ``local`` is the name of a local run, otherwise empty.
    """

    app: str
    role: str
    row: RunRow
    state: str
    status: RunStatus | None
    local: str = ""
    #: The failed requests, counted by data owner, kind and reason; empty at a data owner.
    losses: tuple[Loss, ...] = ()
    #: Why a completed run is no success.
    refusal: str = ""

    @property
    def id(self) -> str:
        """Return the name of this run for commands: its run id, or the name of a local run without one."""
        return str(self.row.run) if self.row.run else self.local

    @property
    def updated(self) -> datetime:
        """Return the time of its last known event."""
        times = (self.row.started, self.row.served, self.row.ended, self.status.updated if self.status else None)
        return max(time for time in times if time)

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON. Ids are strings, because they are larger than the safe integers of JSON."""
        status = self.status
        return {
            "run-id": self.id,
            "app": self.app,
            "role": self.role,
            "state": self.state,
            "succeeded": self.state == RunState.COMPLETED and not self.refusal,
            "cause": self.row.cause or self.refusal,
            "losses": [loss.as_fields() for loss in self.losses],
            "started": self.row.started.isoformat(),
            "updated": self.updated.isoformat(),
            "resumed": self.row.resumed,
            "round": status.round if status else None,
            "asked": status.asked if status else None,
            "answered": status.answered if status else None,
            "failed": status.failed if status else None,
            **({"local": self.local} if self.local else {}),
        }

    def as_row(self) -> tuple[str, ...]:
        """Return the cells of one table row, with times in local time."""
        times = (f"{time.astimezone():%Y-%m-%d %H:%M:%S}" for time in (self.row.started, self.updated))
        status = self.status
        counts = (
            (status.round, f"{status.answered} of {status.asked}", str(status.failed)) if status else ("?", "?", "?")
        )
        app = f"{self.app} (local)" if self.local else self.app
        why = shortened(self.row.cause or self.refusal or shown_losses(self.losses), _MAX_CAUSE)
        state = shown_state(self.state, self.losses, self.refusal)
        return (self.id, app, role_word(self.role), state, *times, *counts, why)


def app_homes(home: Path) -> list[Path]:
    """Return the folders of all apps in the home of a participant, sorted by name.

    Raises:
        StoreError: this user may not read the home.
    """
    apps = home / "apps"
    try:
        return sorted(apps.iterdir()) if apps.is_dir() else []
    except OSError as error:
        raise StoreError(f"{apps} cannot be read: {error.strerror}", hint=hint_of(error)) from error


def runs_of(home: Path) -> tuple[list[Run], list[StoreError]]:
    """Return every run that is recorded in the home of a participant, oldest first, and the unreadable databases."""
    found: list[Run] = []
    problems: list[StoreError] = []
    try:
        homes = app_homes(home)
    except StoreError as error:
        return [], [error]
    for app_home in homes:
        for side in SIDES:
            try:
                found += _runs_of_side(app_home, side)
            except StoreError as error:
                problems.append(error)
    return sorted(found, key=lambda run: run.row.started), problems


def local_runs_of(base: Path, email: str | None = None) -> tuple[list[Run], list[StoreError]]:
    """Return the local runs below SYFT_FLWR_HOME, oldest first, and the unreadable ones.

    Args:
        base: the folder SYFT_FLWR_HOME.
        email: a participant, for its runs as it recorded them; by default all runs, as their aggregators recorded them.
    """
    found: list[Run] = []
    problems: list[StoreError] = []
    for local in local_runs(base):
        if isinstance(local, LocalRun):
            seats = [seat for seat in local.facts.seats if seat.email == email] if email else [local.aggregator]
            found += [_as_run(local, seat) for seat in seats]
        else:
            problems.append(local)
    return found, problems


def _as_run(local: LocalRun, seat: LocalSeat) -> Run:
    facts = local.facts
    state = local.state
    is_cached = state != INTERRUPTED
    status = _status(local.records(seat.email), local.run, seat.role, is_cached=is_cached)
    resumed = status.resumed if status else 0
    row = RunRow(local.run, facts.state, facts.cause, facts.started, facts.started, facts.ended, resumed)
    if status:
        state = state_now(state, status.updated, datetime.now(UTC))
    return Run(facts.app, seat.role, row, state, status, local.name, facts.losses, facts.refusal)


def _runs_of_side(app_home: Path, side: Side) -> Iterator[Run]:
    if not (app_home / side.database).exists():
        return
    served = is_held(app_home / side.lock)
    with closing(side.open(app_home / side.database)) as database:
        # A run that ended while no process served it here is not a run of this participant.
        rows = [(row, recorded_losses(database, row.run) or ()) for row in database.runs.all() if row.served]
    folder = runs_folder(app_home)
    for row, losses in rows:
        lost = not served and has_lost_its_lock(app_home / side.lock, record_path(folder, row.run, side.role))
        gone = row.state is RunState.RUNNING and not (served or lost)
        state = INTERRUPTED if gone else row.state.value
        status = _status(folder, row.run, side.role, is_cached=not gone)
        if status:
            state = state_now(state, status.updated, datetime.now(UTC))
        yield Run(app_home.name, side.role, row, state, status, losses=losses, refusal=refusal_of(row, side.role))


def refusal_of(row: RunRow, role: Role) -> str:
    """Return why a completed run is no success; empty for any other run, and at a data owner."""
    return row.cause if role == "aggregator" and row.state is RunState.COMPLETED else ""


def recorded_losses(database: Futures | Ledger, run: int) -> tuple[Loss, ...] | None:
    """Return the losses of a run; None at a data owner, who does not know the replies of the others."""
    return losses_of(database.replies(run, control=CONTROL)) if isinstance(database, Futures) else None


def _status(folder: Path, run: int, role: Role, *, is_cached: bool) -> RunStatus | None:
    """Return the counts of a run from its status file, or from its record if that file is missing or old.

    A killed process did not write its last status (``is_cached`` is False then).
    """
    cached = RunStatuses(folder).get(run, role)
    if cached and is_cached:
        return cached
    account = RunAccount()
    with suppress(OSError):
        for entry in read_entries(record_path(folder, run, role)):
            account.add(entry)
    return status_of(run, role, account) if account.state else cached
