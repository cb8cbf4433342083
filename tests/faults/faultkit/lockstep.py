"""An aggregator and data owners without threads: each step is taken when the test says so, and each can be killed.

The watchers do not watch: what their threads would call is called by the test. So the same steps give the same end, and a
sequence that fails can be shortened.
"""

import json
import math
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any, cast

from faultkit.links import Life, Link

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.body import Body, failure
from syft_flwr._messaging.caller import Caller
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.inbox import Request
from syft_flwr._messaging.journal import Journal
from syft_flwr._messaging.names import AppNames
from syft_flwr._messaging.objects import make_body
from syft_flwr._messaging.reasons import Reason, reason_of
from syft_flwr._messaging.responder import Responder
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.watcher import Watcher
from syft_flwr._store.database import Database
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr._store.run_log import RunLog
from syft_flwr.clock import Clock
from syft_flwr.errors import SyftFlwrError
from syft_flwr.testing.clock import FakeClock

NAMES = AppNames("lockstep")
AGGREGATOR = "ds@university.example"
OWNERS = ("do0@hospital-0.example", "do1@hospital-1.example")
#: Type of the message that ends a run.
SYSTEM = "system"
_NO_LIMIT = 1 << 40


class Blocked(Exception):  # noqa: N818 - no error, but what would never end
    """There is nobody who could end this wait."""


class LoneClock:
    """One participant's view of a clock that they share, ``offset`` seconds off. A wait passes the time at once."""

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


class StillWatcher(Watcher):
    """Looks when it is told to."""

    def __init__(self, watcher: Watcher, link: Link, clock: Clock) -> None:
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
        """Look at the files of the next ``number`` events."""
        for name in self._link.events[:number]:
            del self._link.events[0]
            if name.startswith(tuple(self._prefixes)):
                self._on_names({name})

    def scan(self) -> None:
        self._on_scan()


class _Mortal:
    """A database as one process has it, which can be killed at each commit. Nothing is forced to disk: the power stays on."""

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


class _Process:
    """What is common to the processes of both sides.

    The databases are opened once: what SQLite does for a process that was killed is shown elsewhere, and takes long.
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

    def _be_born(self, *stores: Futures | Ledger) -> Endpoint:
        self.link.life = Life(self.link.life.left)
        for store in (self._peers, *stores):
            inner = cast("_Mortal", store._database).inner if isinstance(store._database, _Mortal) else store._database
            store._database = cast("Database", _Mortal(inner, self.link.life))
        trust = Trust(self.link, self.email, self._identity, self._peers, self.clock)
        trust.publish()
        return Endpoint(self.link, trust, NAMES, encryption=True, clock=self.clock)

    def die(self) -> None:
        """End as a process does that is killed: nothing of it is closed."""
        self.link.life.left = 0
        self.alive = False


class Aggregator(_Process):
    """The aggregator, from one process to the next."""

    caller: Caller[list[bytes]]

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.futures = Futures(self.home / "futures.db")
        self._stores.callback(self.futures.close)

    def start(self, run: int) -> None:
        endpoint = self._be_born(self.futures)
        self.caller = Caller(
            endpoint,
            futures=self.futures,
            journal=Journal(self.home / "journal", _NO_LIMIT),
            datasites=OWNERS,
            run_log=RunLog(self.home / "runs"),
            decode=list,
        )
        self.watcher = self.caller._watcher = StillWatcher(self.caller._watcher, self.link, self.clock)
        self.caller.open_run(run)
        self.caller.start()
        self.alive = True


@dataclass
class _Job:
    """A request in the app's hands, and what came of it."""

    request: Request
    old: str
    new: str = ""
    answer: Body | None = None


class DataOwner(_Process):
    """A data owner, from one process to the next; it goes about its requests as ``flower_client`` does.

    Its app counts, in its state, what it did: each message by id and by content. It answers with what it was asked, by
    whom, and how many messages it had answered before.
    """

    responder: Responder

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.ledger = Ledger(self.home / "ledger.db")
        self._stores.callback(self.ledger.close)
        #: The files with the app's state, which outlive a process.
        self.states: dict[str, dict[str, Any]] = {}
        self.job: _Job | None = None

    def start(self) -> None:
        endpoint = self._be_born(self.ledger)
        self.job = None
        self._mine, self._theirs = endpoint.mine, endpoint.objects_of(AGGREGATOR)
        self._runs = self.ledger.open_runs()
        self._stopped = False
        self.responder = Responder(endpoint, ledger=self.ledger, aggregator=AGGREGATOR, control=self._control)
        self.watcher = self.responder._watcher = StillWatcher(self.responder._watcher, self.link, self.clock)
        self.responder.start()
        self._delete_unused_states()
        self.alive = True

    def _control(self, request: Request, backlog: bool) -> Body | None:
        run = request.header.run
        if request.header.type != SYSTEM:
            self._runs.add(run)
            return None
        read(self._theirs, request.body, shared=True)
        self.responder.end_run(run)
        if not backlog and run in self._runs:
            self._stopped = True
            self.responder.finish()
        return make_body([b"done"], self._mine, run=run, readers=[AGGREGATOR])

    def wind_up(self) -> None:
        """End as a process does whose run was stopped, if it was."""
        if self._stopped:
            self.responder.settle(2.0)
            self._delete_unused_states()
            self.responder.stop()
            self.die()

    def take(self) -> None:
        """Give the next request to the app."""
        try:
            request = self.responder.next()
        except Blocked:
            # It was withdrawn, or could not be taken.
            return
        if request:
            self.job = _Job(request, self.ledger.context(request.header.run))

    def run(self) -> None:
        """Let the app answer: its objects and its state are written, and nothing is committed."""
        job = self.job
        assert job
        header = job.request.header
        state = json.loads(json.dumps(self.states[job.old])) if job.old else {"messages": 0, "ids": {}, "contents": {}}
        job.new = job.old
        try:
            content, *large = read(self._theirs, job.request.body, shared=True)
            if content.startswith(b"fail"):
                job.answer = failure(Reason.APP_RAISED, f"the ClientApp raised {content.decode()}", header.id[:8])
                return
            said = {"owner": self.email, "id": header.id, "content": content.decode(), "messages": state["messages"]}
            if large:
                said["large"] = len(large[0])
            buffers = [json.dumps(said).encode()]
            if content.endswith(b"large answer"):
                buffers.append(header.id.encode() * 1_250)
            job.answer = make_body(buffers, self._mine, run=header.run, readers=[AGGREGATOR])
        except SyftFlwrError as error:
            job.answer = failure(reason_of(error), str(error))
            return
        state["messages"] += 1
        for kind, key in (("ids", header.id), ("contents", content.decode())):
            state[kind][key] = state[kind].get(key, 0) + 1
        self.link.life.step()
        job.new = f"{header.run}-{header.id}-{len(self.states)}.state"
        self.states[job.new] = state

    def commit(self) -> None:
        job = self.job
        assert job
        assert job.answer
        self.job = None
        committed = self.responder.answer(job.request, job.answer, context=job.new)
        superseded = job.old if committed else job.new
        if superseded and job.old != job.new:
            self.states.pop(superseded, None)

    def work(self, steps: float = math.inf) -> None:
        """Take so many steps of the way from the queue to the committed answer, for one request after the other."""
        while steps > 0 and (self.job or self.responder._work._queue):
            if self.job is None:
                self.take()
            elif self.job.answer is None:
                self.run()
            else:
                self.commit()
            steps -= 1

    def state_of(self, run: int) -> dict[str, Any]:
        """Return the committed state of the app in a run."""
        name = self.ledger.context(run)
        return self.states[name] if name else {"messages": 0, "ids": {}, "contents": {}}

    def answers(self) -> dict[str, bytes]:
        """Return the answers on record, by the id of their request."""
        rows = self.ledger._database.rows("SELECT id, response FROM received WHERE response IS NOT NULL")
        return {row["id"]: row["response"] for row in rows}

    def received(self) -> dict[str, str]:
        """Return the states of all requests on record."""
        return {row["id"]: row["state"] for row in self.ledger._database.rows("SELECT id, state FROM received")}

    def _delete_unused_states(self) -> None:
        used: Collection[str] = self.ledger.contexts()
        self.states = {name: state for name, state in self.states.items() if name in used}
