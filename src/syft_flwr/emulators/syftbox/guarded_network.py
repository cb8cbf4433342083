"""The guarded mode: pushes and scans that check again before they change a file, so that no race loses one."""

import json
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from syft_flwr.clock import Clock
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
from syft_flwr.errors import StoreError, TransportError
from syft_flwr.files import write_private

_STATE_FILE = "state.json"


class GuardedNetwork:
    """The server and one client for each participant, in guarded mode."""

    def __init__(
        self,
        folder: Path,
        participants: Mapping[str, ParticipantHome],
        *,
        settings: SyncSettings,
        link: Link,
        traffic: Traffic,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._traffic = traffic
        self._clock = clock
        self._running = False
        self._server = CacheServer(folder / "blobs", clock, link)
        self._schedule = Schedule(clock, "syftbox real time")
        self._replicas: dict[str, Replica] = {}
        self._pushes: dict[str, Push] = {}
        self._scans: dict[str, SyncScan] = {}
        self._scan_schedules: dict[str, Schedule] = {}
        for email, participant in participants.items():
            replica = Replica(participant, self._server, settings=settings, link=link, traffic=traffic)
            self._replicas[email] = replica
            self._pushes[email] = Push(replica, self._schedule, clock, self._publish)
            self._scans[email] = SyncScan(replica, link, clock)
            self._scan_schedules[email] = Schedule(clock, f"syftbox scan {email}")
        self._watcher = WriteWatcher(
            {participant.datasites: self._pushes[email].on_write for email, participant in participants.items()}
        )

    def start(self) -> None:
        """Synchronise all participants once, then watch and scan until :meth:`stop`.

        Raises:
            StoreError: the stored state of an earlier network is damaged.
            TransportError: the system has no file watches left.
        """
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
        self._running = False
        self._watcher.stop()
        self._schedule.stop()
        for schedule in self._scan_schedules.values():
            schedule.stop()
        self._save()

    def scan(self, emails: Iterable[str]) -> int:
        return sum(self._scans[email].run() for email in emails)

    def settle(self, timeout: float) -> None:
        """Deliver all earlier writes to every online participant now, without waiting for the next regular scan.

        Raises:
            TransportError: changes were still under way after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            before = self._traffic.total
            self._watcher.flush(max(0.0, deadline - time.monotonic()))
            self._wait_until_arrived(deadline)
            changed = self.scan(self._scans)
            self._wait_until_arrived(deadline)
            if not changed and self._traffic.total == before:
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
        write_private(self._folder / _STATE_FILE, json.dumps(document).encode())

    def _load(self) -> None:
        """Read the file of :meth:`_save` and delete it, so that a network that is killed leaves no outdated state.

        Raises:
            StoreError: the file is damaged.
        """
        path = self._folder / _STATE_FILE
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
        due = self._clock.monotonic() + self._settings.scan_interval
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
