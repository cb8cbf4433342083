"""The stand-in as a whole: participants with folders of their own, kept in step by threads of this process."""

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
    """SyftBox for several participants on one machine, without SyftBox.

    Every participant gets ``<root>/<email>/`` with a client configuration and a data folder; what one writes reaches
    another only through here. Files may be written before :meth:`start` and after :meth:`stop`; a network that is
    started again over the same ``root``, also by another process, goes on where the former one stopped.

    Args:
        root: a folder for all of it, made if missing.
        emails: the participants.
        settings: how the sync clients work.
        link: what goes wrong between them.
        clock: paces scans, debounce and delays; the time limits of the methods here are always real seconds.

    Raises:
        ConfigError: there are no participants, one is listed twice or is no email.
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
            raise ConfigError("a SyftBox network needs at least one participant")
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
        """Bring everybody in step once, then watch and scan until :meth:`stop`."""
        with self._lock:
            if self._running:
                return
            self._load()
            # Owners first: without a journal, somebody's copy of a file must not look like a write of hers.
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
        """Stop all threads, wait for what they are doing, and write down what was in step."""
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
        """Run a full scan of some, or all, participants now; return about how many files something was done."""
        return sum(self._scans[normalise(email)].run() for email in emails or self.participants)

    def settle(self, timeout: float = 10.0) -> None:
        """Carry, without waiting for the next scan, all that was written before this call, except to who is offline.

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
                raise TransportError(f"the SyftBox network has not settled within {timeout:g} s")

    def _save(self) -> None:
        """Write the server's versions and all journals, for a later start."""
        document = {
            "versions": self._server.dump(),
            "journals": {email: replica.dump() for email, replica in self._replicas.items()},
        }
        write_private(self.root / _SERVER_FOLDER / _STATE_FILE, json.dumps(document).encode())

    def _load(self) -> None:
        """Read the file of :meth:`_save` and delete it: a network that is killed later leaves no outdated state.

        Raises:
            StoreError: the file is not of this form.
        """
        path = self.root / _SERVER_FOLDER / _STATE_FILE
        empty: dict[str, Any] = {"versions": [], "journals": {}}
        try:
            document = json.loads(path.read_bytes()) if path.exists() else empty
            self._server.load(document["versions"])
            for email, replica in self._replicas.items():
                replica.load(document["journals"].get(email, {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} cannot be read", hint="Remove it; what lies in the folders is kept.") from error
        path.unlink(missing_ok=True)

    def _wait_until_arrived(self, deadline: float) -> None:
        if not self._running:
            return
        # Nothing is sent at the end of a delay that only scans wait for, so a task that does nothing marks it.
        self._schedule.at(self._server.last_due(), _nothing)
        if not self._schedule.wait_until_idle(max(0.0, deadline - time.monotonic())):
            raise TransportError("the SyftBox network still has pushes or delayed changes under way")

    def _schedule_scan(self, email: str) -> None:
        due = self._clock.monotonic() + self.settings.scan_interval
        self._scan_schedules[email].at(due, partial(self._scan_again, email))

    def _scan_again(self, email: str) -> None:
        self._scans[email].run()
        self._schedule_scan(email)

    def _publish(self, version: Version, data: bytes) -> None:
        """Hand a pushed file to all others who may read it (handleFileWrite in the server's ``server.go``)."""
        for email, push in self._pushes.items():
            if email == version.sender or not self._server.allows(email, version.name, Level.READ):
                continue
            if version.due <= self._clock.monotonic():
                push.receive(version, data)
            else:
                self._schedule.at(version.due, partial(push.receive, version))


def _nothing() -> None:
    pass
