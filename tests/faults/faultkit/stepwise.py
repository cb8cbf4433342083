"""An aggregator and a data owner that take one step at a time. The test can kill and restart both."""

import copy
import json
import math
from dataclasses import dataclass
from typing import Any

from faultkit.lockstep import AGGREGATOR, OWNERS, SYSTEM, Blocked, Process, ReadersAtOnce, StillHeartbeat, StillWatcher

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.responder import Responder
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.asking.caller import Caller
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.asking.round_limits import RoundLimits
from syft_flwr._messaging.asking.wait_limits import WaitLimits
from syft_flwr._messaging.objects import make_body
from syft_flwr._messaging.wire.body import Body, failure
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import RunState
from syft_flwr.errors import SyftFlwrError

_NO_LIMIT = 1 << 40
#: Lifetime of a start or stop message, in seconds.
_LIFETIME = 43_200.0


class Aggregator(Process):
    """The aggregator, with its databases and each of its processes in turn."""

    caller: Caller[list[bytes]]
    #: Seconds of silence after which a request ends.
    msg_timeout = math.inf

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.futures = Futures(self.home / "futures.db")
        self._stores.callback(self.futures.close)

    def start(self, run: int) -> None:
        endpoint = self.be_born(self.futures)
        rounds = RoundLimits(self.clock)
        self.caller = Caller(
            endpoint,
            futures=self.futures,
            kept_answers=KeptAnswers(self.home / "journal", _NO_LIMIT),
            datasites=OWNERS,
            limits=WaitLimits(rounds, self.msg_timeout),
            decode=list,
        )
        self.watcher = self.caller._scanner = StillWatcher(self.caller._scanner, self.link, self.clock)
        self.caller._receiver._readers = ReadersAtOnce(self.caller._receiver._read_all, "at once")
        self.caller._heartbeat = StillHeartbeat(endpoint, self.futures, OWNERS, self.caller._liveness, lists=False)
        self.caller.open_run(run)
        self.caller.start()
        self.say("start", run)
        self.alive = True

    def say(self, action: str, run: int) -> list[str]:
        """Send a start or stop message to all data owners, as a grid does, and return the message ids."""
        group = "final" if action == "stop" else ""
        return self.caller.send(
            [
                Ask(email, run, SYSTEM, group, _LIFETIME, [action.encode()], once=action == "stop", in_a_round=False)
                for email in OWNERS
            ]
        )


@dataclass
class _Job:
    """A request that the app works on, with its reply when it has one."""

    request: Request
    old: str
    new: str = ""
    answer: Body | None = None


class DataOwner(Process):
    """A data owner, with its ledger and each of its processes in turn. It handles requests as ``flower_client`` does.

    The state of its app counts the messages by id and by content. The reply has the data owner, the id and content of the
    request, and the number of earlier messages.
    """

    responder: Responder

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.ledger = Ledger(self.home / "ledger.db")
        self._stores.callback(self.ledger.close)
        #: The files with the app's state, which survive a process.
        self.states: dict[str, dict[str, Any]] = {}
        self.job: _Job | None = None

    def start(self) -> None:
        endpoint = self.be_born(self.ledger)
        self.job = None
        self._mine, self._theirs = endpoint.mine, endpoint.objects_of(AGGREGATOR)
        self._runs = {row.run for row in self.ledger.runs.unfinished()}
        self._stopped = False
        self.responder = Responder(endpoint, ledger=self.ledger, aggregator=AGGREGATOR, control=self._control)
        self.watcher = self.responder._scanner = StillWatcher(self.responder._scanner, self.link, self.clock)
        self.responder.start()
        self._delete_unused_states()
        self.alive = True

    def _control(self, request: Request, backlog: bool) -> Body | None:
        run = request.header.run
        if request.header.type != SYSTEM:
            self._begin(run)
            return None
        (action,) = read(self._theirs, request.body, shared=True)
        if action == b"start":
            self._begin(run)
        else:
            self.responder.end_run(run, RunState.COMPLETED, "")
            if not backlog and run in self._runs:
                self._stopped = True
                self.responder.finish()
        return make_body([b"done"], self._mine, run=run, readers=[AGGREGATOR])

    def _begin(self, run: int) -> None:
        if run not in self._runs:
            self.ledger.runs.begin(run, self.clock.now(), alone=False)
            self._runs.add(run)

    def wind_up(self) -> None:
        """End as a process does after a stop, if the run was stopped."""
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
            # The request was withdrawn, or it could not be read.
            return
        if request:
            self.job = _Job(request, self.ledger.context(request.header.run))

    def run(self) -> None:
        """Run the app. This writes its objects and its state, but commits nothing."""
        job = self.job
        assert job
        header = job.request.header
        state = self._state(job.old)
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
        """Take at most ``steps`` steps. Each request takes three: take it, run the app, commit the reply."""
        while steps > 0 and (self.job or self.responder._queue._queue):
            if self.job is None:
                self.take()
            elif self.job.answer is None:
                self.run()
            else:
                self.commit()
            steps -= 1

    def state_of(self, run: int) -> dict[str, Any]:
        """Return the committed state of the app in this run."""
        return self._state(self.ledger.context(run))

    def _state(self, name: str) -> dict[str, Any]:
        """Return a copy of the state in this file, or of the state at the start of a run if the name is empty."""
        return copy.deepcopy(self.states[name]) if name else {"messages": 0, "ids": {}, "contents": {}}

    def answers(self) -> dict[str, bytes]:
        """Return the recorded replies, by the id of their request."""
        rows = self.ledger._database.rows("SELECT id, data FROM envelopes WHERE kind = 'response'")
        return {row["id"]: row["data"] for row in rows}

    def received(self) -> dict[str, str]:
        """Return the states of all recorded requests, by id."""
        return {row["id"]: row["state"] for row in self.ledger._database.rows("SELECT id, state FROM received")}

    def _delete_unused_states(self) -> None:
        used = self.ledger.contexts()
        self.states = {name: state for name, state in self.states.items() if name in used}
