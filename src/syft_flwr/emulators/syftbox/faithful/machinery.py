"""The parts that the server, the store and all clients of one network share."""

from dataclasses import dataclass

from syft_flwr.emulators.syftbox.faithful.durations import Durations
from syft_flwr.emulators.syftbox.faithful.lives import Waits
from syft_flwr.emulators.syftbox.faithful.windows import Windows
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Machinery:
    """The shared parts.

    Attributes:
        waits: all waits of the network.
        windows: the holds of the test.
        durations: the scaled times.
        settings: the behaviour of the clients.
        link: participants that are offline, and pushes that are lost or late.
        traffic: records of all changes.
    """

    waits: Waits
    windows: Windows
    durations: Durations
    settings: SyncSettings
    link: Link
    traffic: Traffic

    def now(self) -> float:
        """Return the seconds of the clock's ``monotonic``."""
        return self.waits.clock.monotonic()
