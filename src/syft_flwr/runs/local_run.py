"""One local run, which ``syft-flwr run`` made: its participants, folders and end, and the records of each participant.

::

    <SYFT_FLWR_HOME>/local/<time>-<random>/run.json                   its description
    <SYFT_FLWR_HOME>/local/<time>-<random>/lock                       held by the process that runs it
    <SYFT_FLWR_HOME>/local/<time>-<random>/<email>/apps/<app>/runs/   the records of a participant, as in a home

No key, database or message is stored there.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from syft_flwr._store.states import RunState
from syft_flwr.app_names import normalise_app_name
from syft_flwr.emails import normalise
from syft_flwr.errors import NotFoundError, StorageError, StoreError, SyftFlwrError
from syft_flwr.files import read_bounded
from syft_flwr.locks import is_held
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.record import Role, runs_folder

#: The shown state of a run without an end, if no process serves it.
INTERRUPTED = "interrupted"

LOCK = "lock"
_DESCRIPTION = "run.json"
_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_HEXADECIMAL = re.compile(r"(?:0x[0-9a-f]{1,16}|[0-9a-f]{16})")
_RECORD = re.compile(r"(?P<run>[0-9a-f]{16})\.aggregator\.jsonl")
_MAX_SIZE = 1 << 20


def _checked_email(email: str) -> str:
    try:
        return normalise(email)
    except SyftFlwrError as error:
        raise ValueError(str(error)) from error


def _checked_app(app: str) -> str:
    try:
        return normalise_app_name(app)
    except SyftFlwrError as error:
        raise ValueError(str(error)) from error


class LocalSeat(BaseModel):
    """One participant of a local run in one role."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    # It is a part of a path.
    email: Annotated[str, AfterValidator(_checked_email)]
    role: Role
    log: Path


class LocalFacts(BaseModel):
    """The JSON form of the description of a local run. A later release may add fields, so unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    v: Literal[1] = 1
    # It is a part of a path.
    app: Annotated[str, AfterValidator(_checked_app)]
    transport: str
    project: Path
    output: Path
    #: The aggregator comes first.
    seats: Annotated[tuple[LocalSeat, ...], Field(min_length=1)]
    started: AwareDatetime
    #: None until its process has recorded the end.
    ended: AwareDatetime | None = None
    #: ``running`` until it ends as ``completed``, ``failed`` or ``stopped``.
    state: RunState = RunState.RUNNING
    #: The reason of the end, for people; empty if the run was completed.
    cause: str = ""
    #: The failed requests, counted by data owner, kind and reason.
    losses: tuple[Loss, ...] = ()
    #: Why a completed run is no success; otherwise empty.
    refusal: str = ""
    #: The id of its run; 0 until the server has begun one.
    run: Annotated[int, Field(ge=0, lt=1 << 63)] = 0


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A local run in its folder."""

    folder: Path
    facts: LocalFacts

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def id(self) -> str:
        """Return the name of this run for commands: its run id, or the name of its folder if it has none."""
        return str(self.run or self.name)

    @property
    def is_served(self) -> bool:
        """Return whether its process still runs and has not recorded the end."""
        return self.facts.state is RunState.RUNNING and is_held(self.folder / LOCK)

    @property
    def state(self) -> str:
        if self.facts.state is RunState.RUNNING and not self.is_served:
            return INTERRUPTED
        return self.facts.state.value

    @property
    def run(self) -> int:
        """Return the id of its run; 0 if the server has not begun one."""
        return self.facts.run or _latest_run(self.records(self.aggregator.email))

    @property
    def aggregator(self) -> LocalSeat:
        return self.facts.seats[0]

    def home(self, email: str) -> Path:
        """Return the folder that has the layout of a participant's home, but only records in it."""
        return self.folder / email

    def records(self, email: str) -> Path:
        """Return the folder with the records of a participant."""
        return runs_folder(self.home(email) / "apps" / self.facts.app)


def is_run_id(text: str) -> bool:
    """Return whether a text is the id of a run or the name of a local run, and not the path of a folder."""
    return bool(run_numbers(text)) or _NAME.fullmatch(text) is not None


def run_numbers(text: str) -> list[int]:
    """Return the ids of runs that a text can mean: decimal as commands show them, or hexadecimal as in names of records."""
    found = [int(text)] if text.isascii() and text.isdecimal() and len(text) < 20 else []
    if _HEXADECIMAL.fullmatch(text):
        found.append(int(text, 16))
    return [number for number in found if number < 1 << 63]


def describe_local_run(folder: Path, facts: LocalFacts) -> tuple[Path, bytes]:
    """Return the path and the content of the description."""
    return folder / _DESCRIPTION, facts.model_dump_json(indent=1).encode()


def local_folders(base: Path) -> list[Path]:
    """Return the folders of all local runs below SYFT_FLWR_HOME, oldest first."""
    parent = local_runs_folder(base)
    found = parent.iterdir() if parent.is_dir() else ()
    return sorted(path for path in found if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink())


def local_runs_folder(base: Path) -> Path:
    """Return the folder that contains the folders of all local runs."""
    return base / "local"


def local_runs(base: Path) -> Iterator[LocalRun | StoreError]:
    """Yield all local runs, oldest first, and an error for each damaged description."""
    try:
        folders = local_folders(base)
    except OSError as error:
        parent = local_runs_folder(base)
        yield StoreError(
            f"{parent} cannot be used: {error.strerror}", hint="Correct its permissions: ls -ld " + str(parent)
        )
        return
    for folder in folders:
        try:
            yield LocalRun(folder, LocalFacts.model_validate_json(read_bounded(folder / _DESCRIPTION, _MAX_SIZE)))
        except NotFoundError:
            # It is created at this moment, or its process was killed when it created it.
            continue
        except (StorageError, ValidationError) as error:
            reason = str(error) if isinstance(error, StorageError) else f"{error.error_count()} of its values are wrong"
            # A file that cannot be read may be whole.
            hint = error.hint if isinstance(error, StorageError) else ""
            yield StoreError(
                f"{folder / _DESCRIPTION} cannot be used: {reason}",
                hint=hint or "Delete its folder if you do not need it.",
            )


def _latest_run(records: Path) -> int:
    """Return the id of the run with the latest record in a folder; 0 if there is none."""
    found: list[tuple[float, int]] = []
    # A record can vanish in the meantime, and the folder can be unreadable.
    with suppress(OSError):
        found = [
            (path.lstat().st_mtime, int(match["run"], 16))
            for path in records.glob("*.aggregator.jsonl")
            if (match := _RECORD.fullmatch(path.name))
        ]
    # Run 0 stands for events of no run.
    return max(((changed, run) for changed, run in found if run), default=(0.0, 0))[1]
