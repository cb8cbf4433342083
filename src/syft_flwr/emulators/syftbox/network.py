"""The network of the emulator: it synchronises the folders of all participants with threads of this process."""

import json
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.emails import normalise, normalise_all
from syft_flwr.emulators.syftbox.acl import Level
from syft_flwr.emulators.syftbox.cache_server import CacheServer, Version
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.push import Push
from syft_flwr.emulators.syftbox.replica import Replica
from syft_flwr.emulators.syftbox.schedule import Schedule
from syft_flwr.emulators.syftbox.sync_scan import SyncScan
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import Traffic
from syft_flwr.emulators.syftbox.write_watcher import WriteWatcher
from syft_flwr.errors import ConfigError, StoreError, TransportError
from syft_flwr.files import write_private

_SERVER_FOLDER = ".server"
_STATE_FILE = "state.json"


class SyftBoxNetwork:
    """An emulated SyftBox network of several participants on one machine.

    Every participant gets the folder ``<root>/<email>/`` with a client configuration and a data folder. Only this
    network copies files between those folders. Programs may also write files before :meth:`start` and after
    :meth:`stop`. A later network on the same ``root``, also in another process, continues from the stored state.

    Args:
        root: folder for the files of all participants; made if missing.
        emails: the email of each participant.
        settings: the behaviour of the sync clients.
        link: the network conditions between the participants.
        clock: sets the pace of scans, debounce and delays. Timeouts of the methods are always real seconds.

    Raises:
        ConfigError: ``emails`` is empty, lists a participant twice, or has an invalid email.
    """

    def __init__(
        self,
        root: Path,
        emails: Iterable[str],
        *,
        settings: SyncSettings | None = None,
        link: Link | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.root = root.resolve()
        self.link = link or Link()
        self.traffic = Traffic()
        self.settings = settings or SyncSettings()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._running = False
        self.participants = {email: ParticipantHome(email, self.root / email) for email in normalise_all(emails)}
        if not self.participants:
            raise ConfigError(
                "a SyftBox network needs at least one participant", hint="Pass the email of each participant."
            )
        for participant in self.participants.values():
            participant.set_up()
        self._server = CacheServer(self.root / _SERVER_FOLDER / "blobs", self._clock, self.link)
        self._schedule = Schedule(self._clock, "syftbox real time")
        self._replicas: dict[str, Replica] = {}
        self._pushes: dict[str, Push] = {}
        self._scans: dict[str, SyncScan] = {}
        self._scan_schedules: dict[str, Schedule] = {}
        for email, participant in self.participants.items():
            replica = Replica(participant, self._server, settings=self.settings, link=self.link, traffic=self.traffic)
            self._replicas[email] = replica
            self._pushes[email] = Push(replica, self._schedule, self._clock, self._publish)
            self._scans[email] = SyncScan(replica, self.link, self._clock)
            self._scan_schedules[email] = Schedule(self._clock, f"syftbox scan {email}")
        self._watcher = WriteWatcher(
            {participant.datasites: self._pushes[email].on_write for email, participant in self.participants.items()}
        )

    def __getitem__(self, email: str) -> ParticipantHome:
        return self.participants[normalise(email)]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Synchronise all participants once, then watch and scan until :meth:`stop`.

        Raises:
            StoreError: the stored state of an earlier network is damaged.
            TransportError: the system has no file watches left.
        """
        with self._lock:
            if self._running:
                return
            self._load()
            # Owners first. Without a journal, another participant's copy of a file would look like a new write.
            for scan in self._scans.values():
                scan.run(own_datasite_only=True)
            for scan in self._scans.values():
                scan.run()
            self._watcher.start()
            self._schedule.start()
            for email, schedule in self._scan_schedules.items():
                schedule.start()
                self._schedule_scan(email)
            self._running = True

    def stop(self) -> None:
        """Stop all threads after their current task, and write the state for a later start."""
        with self._lock:
            if not self._running:
                return
            self._running = False
            self._watcher.stop()
            self._schedule.stop()
            for schedule in self._scan_schedules.values():
                schedule.stop()
            self._save()

    def scan(self, *emails: str) -> int:
        """Scan for the named participants now, or for all if none is named; return the number of actions."""
        return sum(self._scans[normalise(email)].run() for email in emails or self.participants)

    def settle(self, timeout: float = 10.0) -> None:
        """Deliver all earlier writes to every online participant now, without waiting for the next regular scan.

        Raises:
            TransportError: changes were still under way after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            before = self.traffic.total
            self._watcher.flush(max(0.0, deadline - time.monotonic()))
            self._wait_until_arrived(deadline)
            changed = self.scan()
            self._wait_until_arrived(deadline)
            if not changed and self.traffic.total == before:
                return
            if time.monotonic() > deadline:
                raise TransportError(
                    f"files still changed after {timeout:g} s in the SyftBox network",
                    hint="Stop the programs that write files, or pass a larger timeout.",
                )

    def _save(self) -> None:
        """Write the versions of the server and all sync journals for a later start."""
        document = {
            "versions": self._server.dump(),
            "journals": {email: replica.dump() for email, replica in self._replicas.items()},
        }
        write_private(self.root / _SERVER_FOLDER / _STATE_FILE, json.dumps(document).encode())

    def _load(self) -> None:
        """Read the file of :meth:`_save` and delete it, so that a network that is killed leaves no outdated state.

        Raises:
            StoreError: the file is damaged.
        """
        path = self.root / _SERVER_FOLDER / _STATE_FILE
        empty: dict[str, Any] = {"versions": [], "journals": {}}
        try:
            document = json.loads(path.read_bytes()) if path.exists() else empty
            self._server.load(document["versions"])
            for email, replica in self._replicas.items():
                replica.load(document["journals"].get(email, {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} cannot be read", hint="Delete this file; the participants' folders keep their files."
            ) from error
        path.unlink(missing_ok=True)

    def _wait_until_arrived(self, deadline: float) -> None:
        if not self._running:
            return
        # A change that only a scan carries has no task of its own, so an empty task marks the end of its delay.
        self._schedule.at(self._server.last_due(), _nothing)
        if not self._schedule.wait_until_idle(max(0.0, deadline - time.monotonic())):
            raise TransportError(
                "the SyftBox network still has pushes or delayed changes under way",
                hint="Pass a timeout that is longer than the delay of the link.",
            )

    def _schedule_scan(self, email: str) -> None:
        due = self._clock.monotonic() + self.settings.scan_interval
        self._scan_schedules[email].at(due, partial(self._scan_again, email))

    def _scan_again(self, email: str) -> None:
        self._scans[email].run()
        self._schedule_scan(email)

    def _publish(self, version: Version, data: bytes) -> None:
        """Send a pushed file to every other participant that may read it (``handleFileWrite`` in ``server.go``)."""
        for email, push in self._pushes.items():
            if email == version.sender or not self._server.allows(email, version.name, Level.READ):
                continue
            if version.due <= self._clock.monotonic():
                push.receive(version, data)
            else:
                self._schedule.at(version.due, partial(push.receive, version))


def _nothing() -> None:
    pass
