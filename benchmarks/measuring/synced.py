"""The SyftBox network of a measurement: the real programs if the environment names them, otherwise their emulator.

``SYFT_FLWR_TEST_SYFTBOX`` names the folder of the real programs ``server`` and ``syftbox``. Their kit is a kit of the
tests.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from syft_flwr.config import Settings, load_settings
from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncSettings

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "kits"))

from real_syftbox import RealSyftBox, programs

#: The file with the path of each participant's SyftBox configuration.
CONFIGS = "configs.json"
_POLL_INTERVAL = 3.0
#: Seconds between two cycles of an emulated client, as in the real one.
_CYCLE = 5.0


class Network(Protocol):
    """A running network."""

    def config_path(self, email: str) -> Path: ...

    def datasites(self, email: str) -> Path: ...

    def sent(self, email: str) -> int:
        """Return the bytes that the SyftBox client of a participant sent so far."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """The network conditions of a measurement.

    Attributes:
        uplink: bytes per second from each SyftBox client to the server; 0 for no limit.
        store_delay: seconds that each write to the server's store takes longer.
    """

    uplink: float = 0.0
    store_delay: float = 0.0

    @property
    def network(self) -> str:
        """Return the name of the network that a measurement uses."""
        return "real SyftBox" if programs() else f"emulated SyftBox, cycles of {_CYCLE:g} s"

    def __str__(self) -> str:
        uplink = f"uplink {self.uplink * 8 / 1e6:g} Mbit/s" if self.uplink else ""
        delay = f"store delay {self.store_delay:g} s" if self.store_delay else ""
        return ", ".join(filter(None, (self.network, uplink, delay)))


class _Real(RealSyftBox):
    def sent(self, email: str) -> int:
        return self.links[email].passed


class _Emulated(SyftBoxNetwork):
    def config_path(self, email: str) -> Path:
        return self[email].config_path

    def datasites(self, email: str) -> Path:
        return self[email].datasites

    def sent(self, email: str) -> int:
        return self.faithful.uplink(email).sent


@contextmanager
def connected(root: Path, emails: Sequence[str], conditions: Conditions) -> Iterator[Network]:
    """Run a network for these participants, and tell their processes about it."""
    folder = programs()
    network: _Real | _Emulated
    if folder:
        network = _Real(folder, root / "network", emails, store_delay=conditions.store_delay, uplink=conditions.uplink)
    else:
        network = _Emulated(root / "network", emails, settings=SyncSettings(faithful=True, scan_interval=_CYCLE))
        network.faithful.store.delay = conditions.store_delay
        for email in emails:
            network.faithful.uplink(email).rate = conditions.uplink or None
    with network:
        (root / CONFIGS).write_text(json.dumps({email: str(network.config_path(email)) for email in emails}))
        yield network


def settings(root: Path, email: str) -> Settings:
    """Return the settings of a participant of the network that :func:`connected` started."""
    config = json.loads((root / CONFIGS).read_text(encoding="utf-8"))[email]
    return load_settings(
        environ={"SYFTBOX_CLIENT_CONFIG_PATH": config}, home=root / "home", poll_interval=_POLL_INTERVAL
    )
