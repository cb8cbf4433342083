"""A SyftBox network that follows the real programs with all their races, and hooks that hold each race open."""

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emails import normalise
from syft_flwr.emulators.syftbox.faithful.durations import REAL_CYCLE, Durations
from syft_flwr.emulators.syftbox.faithful.lives import Waits
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.object_store import ObjectStore
from syft_flwr.emulators.syftbox.faithful.syft_server import SyftServer
from syft_flwr.emulators.syftbox.faithful.sync_daemon import SyncDaemon
from syft_flwr.emulators.syftbox.faithful.uplink import Uplink
from syft_flwr.emulators.syftbox.faithful.windows import Hold, Window, Windows
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import Traffic
from syft_flwr.emulators.syftbox.write_watcher import WriteWatcher
from syft_flwr.errors import StoreError, TransportError
from syft_flwr.files import write_private

_STATE_FILE = "faithful.json"
_PAUSE = 0.002
#: Seconds in which a client that starts waits for the reports of earlier changes.
_CATCH_UP = 2.0


class FaithfulNetwork:
    """The server, its store and one client for each participant.

    Attributes:
        store: its delay, its failures and its pauses can be set at any time.
    """

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
        waits = Waits(clock)
        self._machinery = Machinery(
            waits, Windows(waits), Durations(settings.scan_interval / REAL_CYCLE), settings, link, traffic
        )
        self.store = ObjectStore(folder / "blobs", self._machinery)
        self._server = SyftServer(self.store, self._machinery)
        self._daemons = {
            email: SyncDaemon(
                participant, self._server, self._machinery, catch_up=partial(self._catch_up, participant.datasites)
            )
            for email, participant in participants.items()
        }
        self._watcher = WriteWatcher(
            {home.datasites: self._daemons[email].on_write for email, home in participants.items()},
            {home.datasites: self._daemons[email].on_removal for email, home in participants.items()},
        )

    def hold(
        self, email: str, window: Window, pattern: str = "*", *, wait: bool = True
    ) -> contextlib.AbstractContextManager[Hold]:
        """Hold a window of a client open for the duration of a ``with`` block.

        Args:
            email: the client; empty for ``Window.LISTING``.
            window: where it stands.
            pattern: pattern for the whole file name; ``*`` also matches slashes.
            wait: for a window of each cycle, begin the block when the client stands there.
        """
        return self._machinery.windows.hold(normalise(email) if email else "", window, pattern, wait=wait)

    def kill(self, email: str) -> None:
        """End a client at any point of its work. Its files and its journal survive."""
        self._daemon(email).stop()

    def restart(self, email: str, *, wait: bool = True) -> bool:
        """Start a client that was killed or has ended; return whether it is up after its first cycle."""
        return self._daemon(email).start(wait=wait)

    def is_up(self, email: str) -> bool:
        return self._daemon(email).is_up

    def failure(self, email: str) -> str:
        """Return the name of the error of the last cycle of a client; empty if it was good."""
        return self._daemon(email).failure

    def cut(self, email: str) -> None:
        """Break the connection of a client. Frames in its queues are gone; it connects again."""
        self._daemon(email).connector.cut()

    def stop_server(self) -> None:
        """End the server as after a kill. Its index and the store survive, and all connections break."""
        self._server.stop()

    def start_server(self) -> None:
        self._server.start()

    def rebuild_index(self) -> None:
        """Replace the server's index by a listing of the store, as the server does every 15 minutes."""
        self._server.rebuild_index()

    def uplink(self, email: str) -> Uplink:
        """Return the uplink of a client, to set its rate and to read its counter."""
        return self._daemon(email).uplink

    def set_free_space(self, email: str, free: int) -> None:
        """Set the free bytes that a client sees on its disk."""
        self._daemon(email).free = free

    def is_automatic(self, email: str) -> bool:
        """Return whether a client makes cycles by itself."""
        return self._daemon(email).automatic

    def set_automatic(self, automatic: bool, *emails: str) -> None:
        """Turn the automatic cycles of the named clients on or off, or those of all."""
        for email in emails or self._daemons:
            self._daemon(email).automatic = automatic
        self._machinery.waits.notify()

    def cycles(self, email: str) -> int:
        """Return the number of cycles since the start of a client."""
        return self._daemon(email).cycles

    def excluded(self, email: str) -> set[str]:
        """Return the names of a client's files that have three strikes."""
        return self._daemon(email).files.status.excluded()

    def journal(self, email: str) -> dict[str, str]:
        """Return the journal of a client: the etag of each file."""
        return self._daemon(email).journal.snapshot()

    def stored(self) -> set[str]:
        """Return the names of all files in the store."""
        return set(self.store.dump())

    def indexed(self) -> set[str]:
        """Return the names of all files in the index of the server."""
        return set(self._server.index)

    def start(self) -> None:
        """Start the server, then each client after the other.

        Raises:
            StoreError: the stored state of an earlier network is damaged, or another network has a data folder.
            TransportError: the system has no file watches left.
        """
        self._load()
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._server.start()
            self._watcher.start()
            for daemon in self._daemons.values():
                daemon.start(wait=True)
            undo.pop_all()

    def stop(self) -> None:
        """Stop all clients and the server, and write the state for a later start."""
        self._watcher.stop()
        for daemon in self._daemons.values():
            daemon.stop()
        self._server.stop()
        document = {
            "objects": self.store.dump(),
            "journals": {email: daemon.journal.snapshot() for email, daemon in self._daemons.items()},
        }
        write_private(self._folder / _STATE_FILE, json.dumps(document).encode())

    def scan(self, emails: Iterable[str]) -> int:
        """Run one cycle of each named client; return the number of actions."""
        return sum(self._daemon(email).scan() or 0 for email in emails)

    def settle(self, timeout: float) -> None:
        """Run cycles until nothing changes.

        Raises:
            TransportError: changes were still under way after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            before = self._machinery.traffic.total
            self._watcher.flush(max(0.0, deadline - time.monotonic()))
            self._wait_until_idle(deadline)
            actions = [daemon.scan() for daemon in self._daemons.values()]
            self._wait_until_idle(deadline)
            if all(number == 0 for number in actions) and self._machinery.traffic.total == before:
                return
            if time.monotonic() > deadline:
                raise TransportError(
                    f"files still changed after {timeout:g} s in the SyftBox network",
                    hint="Stop the programs that write files, or pass a larger timeout.",
                )

    def _catch_up(self, folder: Path) -> None:
        self._watcher.flush(_CATCH_UP, folder)

    def _wait_until_idle(self, deadline: float) -> None:
        while not (self._server.is_idle() and all(daemon.is_idle() for daemon in self._daemons.values())):
            if time.monotonic() > deadline:
                raise TransportError(
                    "the SyftBox network still has pushes or delayed changes under way",
                    hint="Pass a timeout that is longer than the delay of the link.",
                )
            time.sleep(_PAUSE)

    def _load(self) -> None:
        path = self._folder / _STATE_FILE
        empty: dict[str, Any] = {"objects": {}, "journals": {}}
        try:
            document = json.loads(path.read_bytes()) if path.exists() else empty
            self.store.load(document["objects"])
            for email, daemon in self._daemons.items():
                daemon.journal.load(document["journals"].get(email, {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} cannot be read", hint="Delete this file; the participants' folders keep their files."
            ) from error
        path.unlink(missing_ok=True)

    def _daemon(self, email: str) -> SyncDaemon:
        return self._daemons[normalise(email)]
