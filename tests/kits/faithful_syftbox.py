"""An emulated SyftBox in faithful mode with three participants. No cycle runs unless the test asks for it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import eventually

from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncOutcome, SyncSettings
from syft_flwr.emulators.syftbox.faithful import Hold, Window

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
#: Seconds for the start of a network on a busy machine.
_LONG = 60.0
#: Seconds after which a file without an effect is written again: several times those that a push takes.
_AGAIN = 0.3
#: The folder of the data owner in which the aggregator may read and write.
BOX = f"{DO}/box"
_GRANT = f"""
rules:
- pattern: '**'
  access: {{read: ['{DS}'], write: ['{DS}']}}
"""


class Machines:
    """The network, with short names for the steps of a test."""

    def __init__(self, network: SyftBoxNetwork) -> None:
        self.network = network
        self.world = network.faithful
        self.store = network.faithful.store

    def at(self, email: str, name: str) -> Path:
        return self.network[email].datasites / name

    def has(self, email: str, name: str) -> bool:
        return self.at(email, name).exists()

    def put(self, email: str, name: str, data: bytes = b"data") -> None:
        self.at(email, name).write_bytes(data)

    def scan(self, email: str) -> int:
        return self.network.scan(email)

    def push(self, email: str, name: str, data: bytes = b"data") -> None:
        """Write a file with a real-time name, and wait until its push is in the sender's journal."""
        self.put(email, name, data)
        eventually(lambda: self.is_journaled(email, name), f"{name} to be in the journal of {email}")

    def arrives(self, email: str, name: str) -> None:
        """Wait until a file is in place and in the journal."""
        eventually(lambda: self.has(email, name) and self.is_journaled(email, name), f"{name} at {email}")

    def is_journaled(self, email: str, name: str) -> bool:
        """Return whether a file is in the journal and its push has ended. Until then, each cycle leaves it out."""
        return name in self.world.journal(email) and not self.world._daemon(email).files.status.is_left_out(name)

    def strikes(self, email: str, name: str) -> int:
        status = self.world._daemon(email).files.status._files.get(name)
        return status.strikes if status else 0

    def handled(self, email: str) -> None:
        """Wait until the server has handled all pushes of a client: it has given them to all receivers, or has dropped them."""
        eventually(self.world._daemon(email).connector.is_idle, f"the end of the pushes of {email}")

    def is_stored(self, name: str) -> None:
        eventually(lambda: name in self.world.indexed(), f"{name} to be stored")

    def connected(self, *emails: str) -> None:
        """Wait until the clients have a connection again."""
        for email in emails:
            connector = self.world._daemon(email).connector
            eventually(lambda one=connector: one.is_connected, f"the connection of {email}")

    def rebuild(self) -> threading.Thread:
        """Return a thread that rebuilds the index of the server."""
        return threading.Thread(target=self.world.rebuild_index)

    def wait_for_watches(self, email: str, folder: str) -> None:
        """Wait until the client watches a new folder: its writes there make pushes."""
        probe = f"{folder}/probe.response"

        written = 0.0

        def pushed() -> bool:
            nonlocal written
            # The client reads a file some time after its last write, so a write at each look would delay it again.
            if time.monotonic() - written > _AGAIN:
                self.put(email, probe)
                written = time.monotonic()
            return probe in self.world.journal(email)

        eventually(pushed, f"the watch on {folder}")

    def outcomes(self, name: str, outcome: SyncOutcome) -> int:
        return len(self.network.traffic.records(name, outcome=outcome))

    @contextlib.contextmanager
    def cycle_at(self, email: str, window: Window, pattern: str = "*") -> Iterator[Hold]:
        """Let one cycle of a client run up to a window; it ends after the block."""
        # The hold is there first: a cycle that began before it would pass the window, and count as the end of this one.
        with self.world.hold(email, window, pattern, wait=False) as held:
            self.world.set_automatic(True, email)
            held.wait()
            self.world.set_automatic(False, email)
            before = self.world.cycles(email)
            yield held
        eventually(lambda: self.world.cycles(email) > before, f"the end of the cycle of {email}")


Start = Callable[..., Machines]


@pytest.fixture
def start_faithful(tmp_path: Path) -> Iterator[Start]:
    """Start a network in which the data owner has a box for the aggregator."""
    networks: list[SyftBoxNetwork] = []

    def _start(emails: tuple[str, ...] = (DS, DO, OTHER), **settings: object) -> Machines:
        options = {"faithful": True, "scan_interval": 0.2, "debounce": 0.01, **settings}
        network = SyftBoxNetwork(tmp_path, emails, settings=SyncSettings(**options))  # type: ignore[arg-type]
        networks.append(network)
        network.faithful.set_automatic(False)
        box = network[DO].datasites / BOX
        box.mkdir(exist_ok=True)
        (box / "syft.pub.yaml").write_text(_GRANT)
        for email in emails:
            (network[email].datasites / BOX).mkdir(parents=True, exist_ok=True)
        network.start()
        network.settle(_LONG)
        return Machines(network)

    yield _start
    for network in networks:
        network.stop()


@pytest.fixture
def machines(start_faithful: Start) -> Machines:
    return start_faithful()
