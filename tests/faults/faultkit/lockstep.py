"""An aggregator and data owners without threads. The test takes each step, and can kill each process.

No scanner thread runs: the test makes the calls that the thread would make. So the same steps always give the same end, and
Hypothesis can shorten a sequence that fails.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection, Row
from typing import cast

from faultkit.links import Life, Link

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.aggregator_heartbeat import AggregatorHeartbeat
from syft_flwr._messaging.asking.pending import Pending
from syft_flwr._messaging.asking.reply_readers import ReplyReaders
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.scanner import Scanner
from syft_flwr._messaging.trust import Trust
from syft_flwr._store.database import Database
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr.clock import Clock
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock

NAMES = AppNames("lockstep")
AGGREGATOR = "ds@university.example"
OWNERS = ("do0@hospital-0.example", "do1@hospital-1.example")
#: Type of the message that ends a run.
SYSTEM = "system"
_NO_LIMIT = 1 << 40


class Blocked(Exception):  # noqa: N818 - not an error of the code under test
    """Raised for a wait without a deadline, because no other thread could end it."""


class LoneClock:
    """The clock of one participant: a shared clock plus ``offset`` seconds. A wait moves the shared clock at once."""

    def __init__(self, shared: FakeClock, offset: float = 0.0) -> None:
        self._shared = shared
        self._offset = timedelta(seconds=offset)

    def now(self) -> datetime:
        return self._shared.now() + self._offset

    def monotonic(self) -> float:
        return self._shared.monotonic()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        if deadline is None:
            raise Blocked
        self._shared.advance(max(0.0, deadline - self._shared.monotonic()))


class StillWatcher(Scanner):
    """A scanner without a thread, which scans only when the test calls it."""

    def __init__(self, watcher: Scanner, link: Link, clock: Clock) -> None:
        super().__init__(
            link,
            watcher._prefixes,
            on_names=watcher._on_names,
            on_scan=watcher._on_scan,
            clock=clock,
            name=watcher._thread.name,
        )
        self._link = link

    def start(self) -> None:
        self._link.events.clear()
        self._on_scan()

    def stop(self) -> None:
        pass

    def follow(self, number: int) -> None:
        """Handle the next ``number`` events."""
        for name in self._link.events[:number]:
            del self._link.events[0]
            if name.startswith(tuple(self._prefixes)):
                self._on_names({name})

    def scan(self) -> None:
        self._on_scan()


class ReadersAtOnce(ReplyReaders):
    """Readers of large replies without threads: each reply is read in the call that offers it."""

    def offer(self, pending: Pending, size: int) -> None:
        self._read(pending)


class StillHeartbeat(AggregatorHeartbeat):
    """The heartbeat of an aggregator without a thread, which is written only in a scan."""

    def start(self) -> None:
        self.publish()

    def note_change(self) -> None:
        self.publish()

    def close(self) -> None:
        self._pulse.stop()


class Mortal:
    """The database of one process, which each commit can kill. No commit waits for the disk, because no power cut is tested."""

    def __init__(self, inner: Database, life: Life) -> None:
        self.inner = inner
        self._life = life

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        self._life.step()
        with self.inner.transaction(durable=False) as connection:
            yield connection

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        return self.inner.rows(statement, values)

    def close(self) -> None:
        self.inner.close()


class Process:
    """The common part of both kinds of process.

    The databases are opened only once. Other tests show that SQLite survives a killed process, and to open it is slow.
    """

    def __init__(self, home: Path, link: Link, identity: Identity, clock: LoneClock, stores: ExitStack) -> None:
        self.home = home
        self.link = link
        self.email = link.email
        self.clock = clock
        self.alive = False
        self.watcher: StillWatcher
        self._identity = identity
        self._peers = Peers(home / "peers.db")
        self._stores = stores
        stores.callback(self._peers.close)

    def be_born(self, *stores: Futures | Ledger) -> Endpoint:
        self.link.life = Life(self.link.life.left)
        for store in (self._peers, *stores):
            inner = cast("Mortal", store._database).inner if isinstance(store._database, Mortal) else store._database
            store._database = cast("Database", Mortal(inner, self.link.life))
        trust = Trust(self.link, self.email, self._identity, self._peers, self.clock)
        trust.publish()
        return Endpoint(self.link, trust, NAMES, encryption=True, clock=self.clock)

    def die(self) -> None:
        """End like a killed process, which closes nothing."""
        self.link.life.left = 0
        self.alive = False
