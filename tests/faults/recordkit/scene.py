"""The federation in which a fault happens, and the actions that many faults share."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from drivekit.storage import DriveStorage
from faithful_settings import CYCLE, faithful_settings
from faultkit.badlink import BadStorage
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OUTSIDER, OWNERS, Federation
from faultkit.forge import Forge
from faultkit.hand_sync import HandSync
from faultkit.machine import Machine
from faultkit.parts import Copies, make_app
from faultkit.storage import FolderStorage, MemoryStorage
from faultkit.synced import SyncedStorage
from flwr.app import Message
from recordkit.examining import PROBE, Found, findings_at
from recordkit.expected import OTHER, OWNER, Expected
from recordkit.reading import Records
from recordkit.status import LaterClock, Parts, Screen, Shows, has_all, look, replayed
from waiting import eventually

from syft_flwr.clock import SystemClock
from syft_flwr.config import TRANSPORTS, Settings, TransportRow, load_settings
from syft_flwr.doctor.findings import Finding
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.runs.events import CONTROL

#: The run that a federation begins first, and its second one.
RUN, NEXT_RUN = 1001, 1002


@dataclass
class Scene:
    """A federation with one data owner, its storage, and the lines of the log."""

    federation: Federation
    storage: Any
    folder: Path
    logged: list[str]
    stack: ExitStack
    #: The data owner or the aggregator as a process of its own, in place of that of the federation.
    machines: dict[str, Machine] = field(default_factory=dict)
    #: The findings of the doctor, by participant.
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    #: The screens of the status at chosen moments, by participant.
    looks: dict[str, list[Screen]] = field(default_factory=dict)

    @property
    def owner(self) -> Any:
        return self.federation[OWNER]

    @property
    def grid(self) -> Any:
        return self.federation.grid

    @property
    def clock(self) -> Any:
        return self.federation.clock

    def home_of(self, email: str) -> Path:
        root = self.machines[email].root / email / "state" if email in self.machines else self.federation.root
        return root / email / "apps" / self.federation.app

    def settings_of(self, email: str) -> Settings:
        """Return the settings that the commands of a participant read."""
        named = {
            "app_name": self.federation.app,
            "aggregator": self.federation.aggregator,
            "datasites": self.federation.emails,
        }
        named |= self.federation.options.get(email, {})
        home = self.machines[email].root / email / "state" if email in self.machines else self.federation.root
        place, config = self._place_of(email)
        environ = {"SYFTBOX_CLIENT_CONFIG_PATH": str(config)}
        with patch.dict(TRANSPORTS, {_MEMORY: TransportRow("The memory of a test", "")}):
            return load_settings(environ=environ, email=email, home=home, **named, **place)

    def _place_of(self, email: str) -> tuple[dict[str, Any], Path]:
        """Return the settings of the storage, and the config file of the SyftBox client."""
        if isinstance(self.storage, DriveStorage):
            return {
                "transport": "p2p",
                "gdrive_api": self.storage.emulator.url,
                "gdrive_token_path": self.storage.token(email),
            }, Path()
        if isinstance(self.storage, SyncedStorage):
            home = self.storage.network[email]
            return {"data_dir": home.data_dir}, home.config_path
        folder = self.storage.folder_of(email) if isinstance(self.storage, HandSync) else None
        folder = self.storage.data_dir if isinstance(self.storage, FolderStorage) else folder
        if folder is None:
            return {"transport": _MEMORY}, Path()
        config = self.folder / f"{email}.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(folder)}))
        return {"data_dir": folder}, config

    def examine(self, *emails: str, later: float = 0.0, project: Path | None = None, probe: float = PROBE) -> None:
        """Let the doctor examine participants, by default both, and keep its findings for the row.

        Args:
            emails: the participants.
            later: the doctor works so many seconds later, if nothing happens until then.
            project: the folder of the project; only with it, the app is loaded.
            probe: seconds in which a SyftBox client must take over a probe file.
        """
        for email in emails or self.sides:
            settings, participant = self.settings_of(email), self._participant(email)
            given = participant.transport if settings.transport == _MEMORY else None
            self.findings[email] = findings_at(
                settings, LaterClock(participant.clock, later), given, project, probe=probe
            )

    def look(self, email: str, later: float = 0.0) -> None:
        """Keep the status that a participant shows at this moment, or so many seconds later if nothing happens."""
        records = self.records_of(email)
        screen = look(
            self.settings_of(email), self.run, records.role, LaterClock(self._participant(email).clock, later)
        )
        self.looks.setdefault(email, []).append(Screen(len(records.of(self.run)), screen))

    @property
    def sides(self) -> tuple[str, str]:
        """Return the aggregator, and the data owner of the table."""
        return self.federation.aggregator, OWNER

    @property
    def run(self) -> int:
        """Return the first run of the aggregator."""
        return next(iter(sorted(self.records_of(self.federation.aggregator).recorded())), RUN)

    def records_of(self, email: str) -> Records:
        return Records(self.home_of(email), "aggregator" if email == self.federation.aggregator else "datasite")

    def screens_of(self, email: str) -> list[Screen]:
        """Return the status after each event of the run, and at the chosen moments."""
        return replayed(self.records_of(email), self.run, self.federation.app, email) + self.looks.get(email, [])

    def last_look(self, email: str) -> str:
        return look(self.settings_of(email), self.run, self.records_of(email).role, self._participant(email).clock)

    def _participant(self, email: str) -> Participant:
        federation = self.federation
        return federation.participant if email == federation.aggregator else federation[email].participant

    def ask(self, behaviour: str = "answer", **options: Any) -> Message:
        """Send one message, and return its reply."""
        (reply,) = self.federation.ask(behaviour, OWNER, **options)
        return reply

    def push(self, behaviour: str = "answer", **records: Any) -> str:
        (message_id,) = self.federation.push(behaviour, OWNER, **records)
        return message_id

    def pull(self, message_id: str) -> Message:
        (reply,) = self.federation.pull([message_id])
        return reply

    def push_to_the_gate(self) -> str:
        """Send a message, and wait until the app has it. It replies after the gate opens."""
        message_id = self.push("answer_at_the_gate")
        self.owner.journal.wait_for_call(message_id)
        return message_id

    def forge(self, run: int = RUN) -> Forge:
        return Forge(self.federation, OWNER, run)

    def plant(self, name: str, data: bytes) -> None:
        """Write a file in the name of its writer, and wait until the data owner has logged a line about it."""
        self.storage.plant(name, data)
        eventually(lambda: [line for line in self.logged if name in line], f"a line about {name}")
        self.owner.spy.wait_for_scans(1)

    def wait_for_log(self, text: str) -> None:
        eventually(lambda: [line for line in self.logged if text in line], f"a line with {text}")

    def wait_for_screen(self, email: str, parts: Parts) -> None:
        eventually(lambda: has_all(self.last_look(email), parts), f"a screen with {parts}")

    def wait_for_contact(self) -> None:
        """Wait until the heartbeat of the data owner has arrived at the aggregator, over synchronised folders."""
        name = self.federation.names.heartbeat(OWNER)
        eventually(lambda: self.storage.read(name, self.federation.aggregator), "a heartbeat")

    def wait_for_events(self, email: str, role: str, event: str, count: int) -> None:
        """Wait until the record of a participant has so many of these events. A kill may lose the last milliseconds."""
        records = Records(self.home_of(email), role)

        def found() -> bool:
            entries = [entry for run in records.kept() for entry in records.of(run)]
            known = [entry for entry in entries if entry.event == event and entry.fields.get("kind") != CONTROL]
            return len(known) >= count

        eventually(found, f"{count} {event} in the record of {email}")

    def abandon(self) -> None:
        """Abandon the aggregator like a killed process: it ends nothing, and deletes nothing."""
        self.federation.abandon()

    def machine(self, email: str, **options: Any) -> Machine:
        """Return the machine of a participant, which takes its place. Its process ends with the test."""
        machine = Machine(self.folder / "machines", email, self.storage.data_dir, **options)
        self.stack.callback(machine.close)
        self.machines[email] = machine
        return machine


Inject = Callable[[Scene], None]


@dataclass(frozen=True)
class Fault:
    """One row of the table: a fault, and the events that the records of both sides must hold after it.

    The events are in order, but others may come between them.
    """

    name: str
    #: Lets the fault happen in a new federation. Its participants end afterwards.
    inject: Inject
    #: The events of the run in the record of the aggregator, and in that of the data owner.
    aggregator: Sequence[Expected]
    data_owner: Sequence[Expected]
    #: The parts of the suite with this fault: paths below ``tests``.
    covers: Collection[str]
    #: The screens of ``syft-flwr status`` at the aggregator, and at the data owner.
    status: tuple[Shows, Shows] = field(kw_only=True)
    #: The findings of ``syft-flwr doctor`` at the aggregator, and at the data owner, while the fault holds. All other checks
    #: find no problem.
    doctor: tuple[Sequence[Found], Sequence[Found]] = field(kw_only=True)
    #: The state of the run in the database of each side; empty if it has no such run. ``running`` means interrupted.
    ends: tuple[str, str] = ("completed", "completed")
    #: The events of no run in the record of the data owner: files without a valid signature.
    no_run: Sequence[Expected] = ()
    #: The storage, by its name in :data:`STORAGES`.
    over: str = "memory"
    #: Names of events that must not be in the record of the run at the aggregator, and at the data owner.
    never: tuple[Collection[str], Collection[str]] = ((), ())
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    app: Any = None
    #: Whether the clock of the federation moves only in the test.
    still: bool = True


@contextmanager
def _drive(folder: Path) -> Iterator[DriveStorage]:
    storage = DriveStorage(folder / "drive", AGGREGATOR, [OWNER])
    try:
        yield storage
    finally:
        storage.close()


def _quick(folder: Path) -> SyncedStorage:
    """Return folders of which all time limits are a quarter of the usual ones, for a fault that lasts for several of them."""
    settings = replace(faithful_settings(folder), scan_interval=CYCLE / 4)
    return SyncedStorage(folder / "machines", [AGGREGATOR, *OWNERS, OUTSIDER], settings=settings)


def _subscribed(folder: Path) -> SyncedStorage:
    """Return folders whose clients follow subscriptions, which first allow all files."""
    settings = replace(faithful_settings(folder), subscriptions=True)
    storage = SyncedStorage(folder / "machines", [AGGREGATOR, *OWNERS, OUTSIDER], settings=settings)
    for home in storage.network.participants.values():
        home.client_state.mkdir(parents=True, exist_ok=True)
        (home.client_state / "syft.sub.yaml").write_text(SUBSCRIBED)
    return storage


@contextmanager
def _given(storage: Any) -> Iterator[Any]:
    yield storage


STORAGES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda _: _given(MemoryStorage()),
    "bad": lambda _: _given(BadStorage()),
    "copies": lambda _: _given(Copies()),
    "folder": lambda folder: _given(FolderStorage(folder / "SyftBox")),
    "workers": lambda folder: _given(FolderStorage(folder / "SyftBox", workers=True)),
    "synced": lambda folder: SyncedStorage(folder / "machines", [AGGREGATOR, *OWNERS, OUTSIDER]),
    "quick": _quick,
    "subscribed": _subscribed,
    "by hand": lambda folder: HandSync(folder / "machines", AGGREGATOR, OWNER, OTHER),
    "drive": _drive,
}
#: A subscription file that allows all files.
SUBSCRIBED = "version: 1\ndefaults:\n  action: allow\nrules: []\n"
#: The transport of a storage in memory, in the table of transports.
_MEMORY = "memory"
#: Storages of parts, with an app that replies with the arrays of the request.
_ECHOING = ("copies", "by hand")


@contextmanager
def open_scene(fault: Fault, folder: Path, logged: list[str]) -> Iterator[Scene]:
    """Open the federation of a row. At its exit, the run and all participants end."""
    with ExitStack() as stack:
        storage = stack.enter_context(STORAGES[fault.over](folder))
        app = fault.app or (make_app() if fault.over in _ECHOING else None)
        federation = Federation(
            folder / "homes",
            storage,
            [OWNER],
            # Old files of records are deleted, so this clock begins at the present time.
            clock=StillClock(datetime.now(UTC)) if fault.still else SystemClock(),
            options={email: dict(options) for email, options in fault.options.items()},
            **{"client_app": app} if app else {},
        )
        with federation, ExitStack() as processes:
            yield Scene(federation, storage, folder, logged, processes)
