"""An aggregator that a test can kill and restart, and two data owners that keep running. The level is the Caller, not Flower.

A kill abandons the caller: its scanner stops, and nothing is closed.
"""

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from faultkit.halting import halt
from faultkit.links import Life

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.responder import Responder
from syft_flwr._messaging.asking.caller import Caller
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.outcomes import Outcome
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.objects import make_body
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.body import failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr._store.states import Future, Received
from syft_flwr.names import AppNames, is_state
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.stream import EventStream
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Data
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

DS, DO1, DO2 = "ds@x.org", "do1@y.org", "do2@z.org"
OWNERS = (DO1, DO2)
NAMES = AppNames("resumption")
RUN = 7
PART = 10_000
LIFETIME = 86_400.0
NO_LIMIT = 1 << 40
PATIENCE = 20.0


class Written(MemoryTransport):
    """A transport that records the written names in order. Each write and deletion is a step of the process."""

    def __init__(self, network: MemoryNetwork, email: str, life: Life) -> None:
        super().__init__(network, email)
        self.names: list[str] = []
        self._life = life

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        self._life.step()
        super().put(name, data, readers=readers, replace=replace)
        self.names.append(name)

    def delete(self, name: str) -> None:
        self._life.step()
        super().delete(name)

    def take(self) -> list[str]:
        """Return the names that were written since the last call."""
        taken, self.names = self.names, []
        return taken


class Recorded(Futures):
    """The futures of the aggregator. Each commit is a step of the process."""

    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        self._life = life

    def add(self, rows: Iterable[FutureRow]) -> None:
        self._life.step()
        super().add(rows)

    def move(self, ids: Iterable[str], state: Future, *, code: str = "", reason: str = "") -> None:
        self._life.step()
        super().move(ids, state, code=code, reason=reason)

    def collect(self, outcomes: Mapping[str, Ended]) -> None:
        self._life.step()
        super().collect(outcomes)


class ScriptedOwner:
    """A data owner without an app: the test answers the requests."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self.folder = endpoint.mine
        self.responder = Responder(endpoint, ledger=ledger, aggregator=DS, control=lambda request, backlog: None)
        #: Ids of the requests that the test took, in order.
        self.ran: list[str] = []

    def next(self) -> Request:
        request = self.responder.next()
        assert request is not None
        self.ran.append(request.header.id)
        return request

    def answer(self, *buffers: bytes) -> Request:
        """Take the next request, answer it with ``buffers``, and return it."""
        request = self.next()
        assert self.responder.answer(request, make_body(buffers, self.folder, run=RUN, readers=[DS]))
        return request

    def fail(self, code: Reason, text: str, reference: str = "") -> None:
        assert self.responder.answer(self.next(), failure(code, text, reference))


class ResumingFederation:
    """An aggregator that a test can kill, and two data owners that keep running."""

    def __init__(self, folder: Path, identities: Sequence[Identity], *, part_size: int = PART) -> None:
        self.clock = FakeClock(patience=PATIENCE)
        self.life = Life()
        self.network = MemoryNetwork(poll_interval=0.02, part_size=part_size)
        self.home = folder / DS
        self._identities = dict(zip((DS, *OWNERS), identities, strict=True))
        self._stores = ExitStack()
        self.transport = Written(self.network, DS, self.life)
        self.owners = {}
        self.ledgers = {}
        for email in OWNERS:
            trust = self._trust(self.network.transport(email), email, folder / email)
            self.ledgers[email] = Ledger(folder / email / "ledger.db")
            self._stores.callback(self.ledgers[email].close)
            endpoint = Endpoint(self.network.transport(email), trust, NAMES, encryption=True, clock=self.clock)
            self.owners[email] = ScriptedOwner(endpoint, self.ledgers[email])
        self._trust(self.transport, DS, folder / "card").publish()
        for owner in self.owners.values():
            owner.responder.start()
        self.taken_up = 0
        #: Makes the answer of a reply from its buffers.
        self.decode: Callable[[Sequence[bytes]], list[bytes]] = list

    def _trust(self, transport: MemoryTransport, email: str, home: Path) -> Trust:
        trust = Trust(transport, email, self._identities[email], Peers(home / "peers.db"), self.clock)
        self._stores.callback(trust.close)
        return trust

    def start(self, *, run: int = RUN, limit: int = NO_LIMIT) -> None:
        """Start the aggregator as a new process does."""
        self.life.left = math.inf
        self.futures = Recorded(self.home / "futures.db", self.life)
        self._stores.callback(self.futures.close)
        self.events = EventStream(runs_folder(self.home), "aggregator", self.clock)
        self._stores.callback(self.events.close)
        self.futures.runs.begin(run, self.clock.now(), alone=True)
        trust = self._trust(self.transport, DS, self.home)
        self.caller: Caller[list[bytes]] = Caller(
            Endpoint(self.transport, trust, NAMES, encryption=True, clock=self.clock),
            futures=self.futures,
            kept_answers=KeptAnswers(self.home / "journal", limit),
            datasites=OWNERS,
            on_event=self.events.emit,
            decode=self.decode,
            metrics_in=lambda answer: {"bytes": sum(map(len, answer))},
        )
        self.run = run
        self.taken_up = self.caller.open_run(run)
        self.caller.start()
        self.transport.take()

    def kill(self) -> None:
        self.life.left = 0
        halt(self.caller)
        self.events.close()

    def restart(self, *, run: int = RUN, limit: int = NO_LIMIT) -> None:
        self.kill()
        self.start(run=run, limit=limit)

    def ask(self, *buffers: bytes, to: Collection[str] = OWNERS, **changes: Any) -> list[str]:
        fields = {"type": "train", "group": "3", "lifetime": LIFETIME, **changes}
        return self.caller.send([Ask(email, run=self.run, buffers=buffers, **fields) for email in to])

    def collect(self, ids: Collection[str]) -> list[Outcome[list[bytes]]]:
        self.caller.wait(ids, timeout=PATIENCE)
        outcomes = self.caller.collect(ids)
        assert len(outcomes) == len(set(ids))
        return outcomes

    def answers(self, ids: Collection[str]) -> list[list[bytes] | None]:
        return [outcome.answer for outcome in self.collect(ids)]

    def rows(self) -> dict[str, FutureRow]:
        return {row.id: row for row in self.futures.of_run(self.run)}

    def record(self) -> list[RecordEntry]:
        """Return the entries of the record so far."""
        assert self.events.flush()
        return list(read_entries(record_path(runs_folder(self.home), self.run, "aggregator")))

    def left(self, suffixes: tuple[str, ...] = (".request", ".response", ".blob")) -> set[str]:
        """Return the names of the messages and objects in the network."""
        with self.network.lock:
            return {name for name in self.network.files if name.endswith(suffixes) and not is_state(name)}

    def wait_until_left(self, expected: set[str], suffixes: tuple[str, ...]) -> None:
        """Wait until the network has exactly these files. Data owners delete their files in threads of their own."""
        deadline = time.monotonic() + PATIENCE
        while self.left(suffixes) != expected and time.monotonic() < deadline:
            time.sleep(0.005)
        assert self.left(suffixes) == expected

    def wait_until_recorded(self, email: str, message_id: str, state: Received) -> None:
        """Wait until the ledger of a data owner has a request in this state."""
        deadline = time.monotonic() + PATIENCE
        while not ((row := self.ledgers[email].get(message_id)) and row.state == state):
            assert time.monotonic() < deadline, (row, state)
            time.sleep(0.005)

    def close(self) -> None:
        """End the run as an aggregator without a crash does, and check that no file is left."""
        self.caller.close()
        assert not [name for name in self.left() if name.startswith(DS) or name.endswith(".request")]
        self.wait_until_left(set(), (".request", ".response", ".blob"))
        assert not list((self.home / "journal").iterdir())

    def give_back(self) -> None:
        self.kill()
        for owner in self.owners.values():
            owner.responder.stop()
        self._stores.close()


Rounds = list[tuple[list[int], tuple[str, ...]]]


class Script:
    """A ServerApp that sends the same requests each time. A round is a list of contents and a list of data owners."""

    def __init__(self, federation: ResumingFederation, rounds: Rounds) -> None:
        self.federation = federation
        self.rounds = rounds
        #: The replies that it has received so far.
        self.told: list[list[bytes] | None] = []

    @property
    def total(self) -> int:
        """Return the number of requests in all rounds."""
        return sum(len(contents) * len(addressees) for contents, addressees in self.rounds)

    def steps(self) -> Iterator[None]:
        """Run the script. Yield after every step, so that the test can kill the aggregator there."""
        for number, (contents, addressees) in enumerate(self.rounds):
            ids = self.federation.caller.send(
                [
                    Ask(email, RUN, "train", str(number), LIFETIME, [b"%d" % content, bytes([content]) * 40_000])
                    for content in contents
                    for email in addressees
                ]
            )
            yield
            for message_id in ids:
                self._answer(message_id)
                yield
            for message_id in ids:
                self.told += self.federation.answers([message_id])
                yield

    def _answer(self, message_id: str) -> None:
        """Let the data owner answer this request and the earlier ones, if they are open."""
        for email, owner in self.federation.owners.items():
            while NAMES.request(email, DS, message_id) in self.federation.left() and message_id not in owner.ran:
                owner.answer(b"%d" % len(owner.ran), os.urandom(40_000))
