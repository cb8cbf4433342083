"""Finds a run of this machine by its id: a run of this participant, or a local run."""

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from syft_flwr._store.run_table import RunRow
from syft_flwr._store.states import RunState
from syft_flwr.config import Settings, load_settings
from syft_flwr.disk_errors import told
from syft_flwr.emails import normalise
from syft_flwr.errors import ConfigError, StorageError, StoreError
from syft_flwr.log import logger
from syft_flwr.logbook.run_files import run_log_path
from syft_flwr.runs.history import RunHistory
from syft_flwr.runs.listing import SIDES, Side, app_homes, recorded_losses, refusal_of
from syft_flwr.runs.local_run import INTERRUPTED, LocalRun, LocalSeat, local_runs, run_numbers
from syft_flwr.runs.metric_files import metric_paths
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.record import Role, record_path, runs_folder
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.runs.recorded_run import RecordedRun, RunPaths, read_record
from syft_flwr.runs.serving_process import is_served
from syft_flwr.text import role_word

#: The cause of a run that only a record shows.
_NO_DATABASE = "its database {} is missing, so only its record shows the state"
_ROLES: tuple[Role, ...] = get_args(Role)


@told()
def open_run(
    run_id: int | str, *, role: str | None = None, email: str | None = None, home: str | Path | None = None
) -> RecordedRun:
    """Return a run of this machine by its id: of this participant in any app, or a local run.

    Args:
        run_id: the id of the run, or the name of a local run.
        role: ``aggregator`` or ``datasite``; by default the aggregator's side, if it is on this machine.
        email: the participant; by default that of the settings. A local run is also found without it.
        home: replaces the setting SYFT_FLWR_HOME.

    Raises:
        ConfigError: no such run is recorded here, or a setting is wrong.
        StoreError: the database that has its state cannot be read.
    """
    return find_run(load_settings(email=email, home=home), run_id, role=role, email=email)


def find_run(
    settings: Settings, run_id: int | str, *, role: str | None = None, email: str | None = None
) -> RecordedRun:
    """Return a run by the settings of a participant; see :func:`open_run`."""
    if role is not None and role not in _ROLES:
        raise ConfigError.not_allowed("role", role, ", ".join(_ROLES))
    wanted = str(run_id).strip()
    roles = [known for known in _ROLES if role in (None, known)]
    mine = normalise(email) if email else None
    numbers = [number for number in run_numbers(wanted) if number]
    known = list(local_runs(settings.base))
    local = [run for run in known if isinstance(run, LocalRun)]
    problems: list[StoreError] = []
    others: list[str] = []
    for each in roles:
        for number in numbers:
            # A run that was not completed is false.
            if (found := _of_participant(settings, number, each, problems)) is not None:
                return found
        for run in local:
            if run.run in numbers or run.name == wanted:
                for seat in run.facts.seats:
                    if seat.role == each and mine in (None, seat.email):
                        return recorded_local_run(run, seat)
                    others.append(f"{seat.email} ({role_word(seat.role)})")
    problems += [each for each in known if isinstance(each, StoreError)]
    if problems:
        # It may be in a file that cannot be read.
        raise problems[0]
    place = f" as {role_word(role)}" if role else ""
    hint = "List the runs with `syft-flwr runs`; a run of another participant needs its email or its SYFT_FLWR_HOME."
    if others:
        hint = f"This machine has its record of {', '.join(dict.fromkeys(others))}: name one with --email."
    raise ConfigError(f"run {wanted[:100]!r} is not recorded on this machine{place}", hint=hint)


def recorded_local_run(run: LocalRun, seat: LocalSeat) -> RecordedRun:
    """Return a local run as one of its participants recorded it."""
    record = record_path(run.records(seat.email), run.run, seat.role)
    history = _history(record) if run.run else RunHistory()
    return RecordedRun(
        run_id=run.run,
        app=run.facts.app,
        role=seat.role,
        participant=seat.email,
        state=run.state,
        cause=run.facts.cause,
        started=run.facts.started,
        ended=run.facts.ended,
        resumed=history.account.resumed,
        paths=_paths(record, run.run, seat.role, run.home(seat.email), run.facts.output, seat.log),
        local=run.name,
        refusal=run.facts.refusal,
        _losses=run.facts.losses if run.facts.ended else None,
        _history=history,
        _is_served=lambda: run.is_served,
    )


def _of_participant(settings: Settings, run: int, role: Role, problems: list[StoreError]) -> RecordedRun | None:
    """Return a run of the participant; add the databases that cannot be read to ``problems``."""
    if settings.home is None:
        return None
    side = next(side for side in SIDES if side.role == role)
    for app_home in app_homes(settings.home):
        database, record = app_home / side.database, record_path(runs_folder(app_home), run, role)
        try:
            row, losses = _read(database, side, run)
        except StoreError as error:
            if record.exists():
                # Only the database decides about this run.
                raise
            problems.append(error)
            continue
        # Without a database, the record alone shows the run.
        if row or (not database.exists() and record.exists()):
            return _recorded(settings, _KnownRun(app_home, side, row, record, losses), run)
    return None


@dataclass(frozen=True, slots=True)
class _KnownRun:
    """A run in the home of a participant. ``row`` is None if the database is missing."""

    app_home: Path
    side: Side
    row: RunRow | None
    record: Path
    losses: tuple[Loss, ...] | None


def _read(database: Path, side: Side, run: int) -> tuple[RunRow | None, tuple[Loss, ...] | None]:
    """Return the row and the losses of a run that a process served here; None if there is none, or no database."""
    if not database.exists():
        return None, None
    with closing(side.open(database)) as opened:
        row = opened.runs.get(run)
        return (row, recorded_losses(opened, run)) if row and row.served else (None, None)


def _recorded(settings: Settings, found: _KnownRun, run: int) -> RecordedRun:
    history = _history(found.record)
    account, row = history.account, found.row
    served = partial(is_served, found.app_home / found.side.lock, found.record)
    state = row.state.value if row else account.state or RunState.RUNNING.value
    output = history.settings.get("output_dir", "")
    lost = "; ".join(filter(None, (account.cause, _NO_DATABASE.format(found.side.database))))
    log = run_log_path(found.record.parent, run, found.side.role)
    cause, refusal = (row.cause, refusal_of(row, found.side.role)) if row else (lost, "")
    return RecordedRun(
        run_id=run,
        app=found.app_home.name,
        role=found.side.role,
        participant=str(settings.email),
        state=INTERRUPTED if state == RunState.RUNNING and not served() else state,
        cause="" if refusal else cause,
        started=row.started if row else account.started,
        ended=row.ended if row else None,
        resumed=row.resumed if row else account.resumed,
        paths=_paths(
            found.record,
            run,
            found.side.role,
            settings.require("home"),
            Path(output) if output else None,
            log if log.exists() else None,
        ),
        refusal=refusal,
        _history=history,
        _is_served=served,
        _is_certain=row is not None,
        _losses=found.losses,
    )


def _paths(record: Path, run: int, role: Role, home: Path, output: Path | None, log: Path | None) -> RunPaths:
    found = metric_paths(record.parent, run) if role == "aggregator" else ()
    metrics = [path if path.exists() else None for path in found] or [None, None]
    return RunPaths(record, home, output, log, *metrics)


def _history(record: Path) -> RunHistory:
    """Return the history of a run; an empty one if its record cannot be read, because no record decides about a run."""
    try:
        return RunHistory(read_record(RecordReader(record)))
    except StorageError as error:
        text = "the record {} cannot be read, so rounds and replies of this run are not shown: {}"
        logger.warning(text, record, error.diagnose())
        return RunHistory()
