"""One SyftBox client: its start, its cycles, its connection, and its end (``Start`` in ``sync_engine.go``).

It holds the lock of its data folder as long as it runs (``Lock`` in ``workspace.go``).
"""

import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from syft_flwr.emulators.syftbox.faithful.client_files import ClientFiles, SyncJournal
from syft_flwr.emulators.syftbox.faithful.connector import Connector
from syft_flwr.emulators.syftbox.faithful.disk_walk import WalkAbandonedError
from syft_flwr.emulators.syftbox.faithful.frames import Frame
from syft_flwr.emulators.syftbox.faithful.lives import Life, LifeEndedError, ServerDownError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.realtime import Realtime
from syft_flwr.emulators.syftbox.faithful.syft_server import SyftServer
from syft_flwr.emulators.syftbox.faithful.sync_cycle import MIN_FREE, DiskFullError, SyncCycle
from syft_flwr.emulators.syftbox.faithful.transfers import Transfers
from syft_flwr.emulators.syftbox.faithful.uplink import Uplink
from syft_flwr.emulators.syftbox.faithful.watched_folders import WatchedFolders
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.schedule import Schedule
from syft_flwr.locks import ProcessLock
from syft_flwr.log import logger

_LOCK = "syftbox.lock"
#: The failures of a cycle: at the start of a client they end it.
_FAILURES = (DiskFullError, ServerDownError, WalkAbandonedError)


class SyncDaemon:
    """The client of one participant. A stop loses all but the files and the journal.

    Args:
        catch_up: waits until the write watcher has reported each earlier change.

    Attributes:
        automatic: whether cycles run by themselves; if False, only :meth:`scan` runs them.
        free: free bytes on the disk that the client sees.
        failure: the name of the error of the last cycle; empty after a good one.
    """

    def __init__(
        self,
        participant: ParticipantHome,
        server: SyftServer,
        machinery: Machinery,
        *,
        catch_up: Callable[[], object],
    ) -> None:
        self.journal = SyncJournal()
        self.uplink = Uplink(machinery.waits)
        self.automatic = True
        self.free = 2 * MIN_FREE
        self.failure = ""
        self._participant = participant
        self._server = server
        self._machinery = machinery
        self._catch_up = catch_up
        self._threads: list[threading.Thread] = []
        self._prepare()
        self._life.ended = True

    def _prepare(self) -> None:
        """Make all that is lost with the end of the client."""
        machinery, server, life = self._machinery, self._server, Life()
        email = self._participant.email
        self._life = life
        self._listens = False
        self._folders = WatchedFolders()
        self.files = ClientFiles(self._participant, self.journal, machinery)
        self._schedule = Schedule(machinery.waits.clock, f"syftbox pushes {email}")
        self._realtime = Realtime(self.files, life, machinery, schedule=self._schedule, push=self._push)
        self.connector = Connector(
            email, life, machinery, server=server, uplink=self.uplink, to_client=self._realtime.receive
        )
        transfers = Transfers(self.files, life, machinery, server=server, uplink=self.uplink)
        self._cycle = SyncCycle(self.files, life, machinery, server=server, transfers=transfers, free=lambda: self.free)

    @property
    def is_up(self) -> bool:
        """Return whether the client has ended its first cycle and runs."""
        return self._listens and not self._life.ended

    @property
    def cycles(self) -> int:
        """Return the number of cycles since the start of the client."""
        return self._cycle.count

    def start(self, *, wait: bool) -> bool:
        """Start the client, and return whether it is up. It is not after a failed first cycle.

        Args:
            wait: wait for the end of the first cycle.

        Raises:
            StoreError: another client has the lock of the data folder.
        """
        if self._life.ended:
            lock = self._lock()
            self._prepare()
            self._begin(partial(self._run, lock))
        if wait:
            life = self._life
            self._machinery.waits.until(ready=lambda: life.ended or self._listens)
        return self.is_up

    def stop(self) -> None:
        """Stop the client as after a kill, at any point of its work."""
        self._machinery.waits.end(self._life)
        self.connector.close()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def scan(self) -> int | None:
        """Run one cycle now; return the number of its actions, and 0 if it fails or the client is down.

        None stands for a cycle that was abandoned because a file vanished: the next one can have work to do.
        """
        if not self.is_up:
            return 0
        try:
            return self._run_cycle()
        except LifeEndedError:
            return 0

    def on_write(self, name: str) -> None:
        if self.is_up and self._folders.reports(name):
            self._realtime.on_write(name)

    def on_removal(self, folder: str) -> None:
        if self.is_up:
            self._folders.remove(folder)

    def is_idle(self) -> bool:
        """Return whether no push is planned, under way or not yet in the journal."""
        if not self.is_up:
            return True
        return self._schedule.wait_until_idle(0) and self.files.status.is_idle() and self.connector.is_idle()

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"syftbox {self._participant.email}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _lock(self) -> AbstractContextManager[object]:
        if not self._machinery.settings.lock:
            return contextlib.nullcontext()
        path = self._participant.client_state / _LOCK
        return ProcessLock(path, f"the SyftBox client of {self._participant.email}")

    def _run(self, lock: AbstractContextManager[object]) -> None:
        life = self._life
        try:
            with lock:
                self._work(life)
        except LifeEndedError:
            return
        finally:
            # A client can start again from here on, so the lock is free.
            self._machinery.waits.end(life)
            self._schedule.stop()

    def _work(self, life: Life) -> None:
        if not self._make_first_cycle():
            return
        self._schedule.start()
        self._begin(self.connector.stay_connected)
        # A folder that was removed before this start may get a watch.
        self._catch_up()
        self._listens = True
        self._machinery.waits.notify()
        while True:
            self._machinery.waits.pause(self._machinery.durations.cycle, life)
            self._machinery.waits.until(life, ready=lambda: self.automatic)
            # Asked again in the cycle: after a change to False and one call of ``scan``, no cycle runs by itself.
            self._run_cycle(lambda: self.automatic)

    def _make_first_cycle(self) -> bool:
        """Run a cycle and connect; a failure ends the client."""
        try:
            self._cycle.run()
            self.connector.connect()
        except _FAILURES as error:
            self.failure = type(error).__name__
            logger.debug("SyftBox emulator of {}: the client ends: {}", self._participant.email, self.failure)
            return False
        self.failure = ""
        return True

    def _run_cycle(self, wanted: Callable[[], bool] = lambda: True) -> int | None:
        try:
            actions = self._cycle.run(wanted)
        except _FAILURES as error:
            self.failure = type(error).__name__
            return None if isinstance(error, WalkAbandonedError) else 0
        self.failure = ""
        return actions

    def _push(self, frame: Frame) -> None:
        self.connector.push(frame)
