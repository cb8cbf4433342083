"""An aggregator, two data owners and their storage in one thread, with a record of each message and its outcome.

Each message must get one reply and have one effect. A message is excused from this rule only in these cases:

- its lifetime passed, or the aggregator stopped waiting for it
- its file was hidden from its data owner
- a call failed while it was on its way

A data owner deletes its state of a run if it concludes that the run has ended. Effects lost in this way are
not counted as missing.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faultkit.links import Killed, Link, RoughNetwork
from faultkit.lockstep import AGGREGATOR, NAMES, OWNERS, LoneClock
from faultkit.stepwise import Aggregator, DataOwner

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.outcomes import Outcome
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.states import Future, Received
from syft_flwr.errors import TransportError
from syft_flwr.testing import FakeClock

#: Plaintext bytes of an object. A large message has three objects.
PART = 16_000
CONTENTS = ("small", "large", "small with a large answer", "large with a large answer", "fail")
LIFETIMES = (600.0, 43_200.0)

EVERYBODY = (AGGREGATOR, *OWNERS)
_ROUNDS_TO_DRAIN = 12


def buffers_of(content: str) -> list[bytes]:
    return [content.encode(), *([content[:1].encode() * 40_000] if content.startswith("large") else [])]


@dataclass
class Question:
    """One message of the ServerApp, and its outcome."""

    owner: str
    content: str
    lifetime: float
    #: Ids of the requests made for it. A second one is made only if the first cannot be resumed.
    ids: list[str] = field(default_factory=list)
    #: Time at which the last of them expires, on the shared clock.
    ends: float = 0.0
    #: The reason why it may have no reply, or more than one effect.
    excuse: str = ""
    #: The outcome that the ServerApp has received from any process of the aggregator.
    told: Outcome[list[bytes]] | None = field(default=None, repr=False)
    #: Whether a copy of its reply could not be kept, so that a process may ask again after a crash.
    lost: bool = False
    #: Whether the present process of the aggregator has sent it, and whether it has collected the outcome.
    asked: bool = False
    collected: bool = False


class World:
    """The participants, the storage between them, and a record of each message."""

    def __init__(self, folder: Path, identities: Sequence[Identity], offsets: Sequence[float]) -> None:
        self.clock = FakeClock()
        self.network = RoughNetwork(part_size=PART)
        self.stores = ExitStack()
        links = [Link(self.network, email) for email in EVERYBODY]
        parts = list(zip(links, identities, [LoneClock(self.clock, offset) for offset in offsets], strict=True))
        self.aggregator = Aggregator(folder / AGGREGATOR, *parts[0], self.stores)
        self.owners = [DataOwner(folder / link.email, link, *rest, self.stores) for link, *rest in parts[1:]]
        self.run = 1
        self.asks: list[Question] = []
        self._batch: Sequence[Question] = ()
        #: All replies that data owners ever recorded, by request id.
        self.answers: dict[str, bytes] = {}
        #: Data owners that concluded that this run has ended: they know no message of it that could be repeated.
        self.forgotten: set[str] = set()
        #: Files that could not be deleted.
        self.left_behind: set[str] = set()

    @property
    def everybody(self) -> list[Aggregator | DataOwner]:
        return [self.aggregator, *self.owners]

    def start(self, number: int, steps: float = math.inf) -> None:
        """Start a participant's process."""
        with self.living(number, steps):
            if number:
                owner = self.owners[number - 1]
                before = owner.ledger.context(self.run)
                owner.start()
                if before and not owner.ledger.context(self.run):
                    self.forgotten.add(owner.email)
            else:
                for ask in self.asks:
                    ask.asked = ask.collected = False
                self.aggregator.start(self.run)

    @contextmanager
    def living(self, number: int, steps: float = math.inf) -> Iterator[None]:
        """Let one participant act in this context. Calls may fail, and it is killed after ``steps`` writes and commits."""
        part = self.everybody[number]
        part.link.life.left = steps
        try:
            yield
            part.link.life.left = math.inf
        except (Killed, TransportError) as end:
            # A failed start ends the process.
            if isinstance(end, TransportError) and (part.alive or not part.link.failed):
                raise
            part.die()
        finally:
            self._excuse_failed(part)

    def _excuse_failed(self, part: Aggregator | DataOwner) -> None:
        """Excuse messages after a failed call that the code does not retry. It retries all other calls."""
        for call, name in part.link.failed:
            why = f"{call} of {name} failed"
            owner = name.partition("/")[0]
            if call == "delete":
                self.left_behind.add(name)
            elif call == "keep":
                for ask in self.asks:
                    ask.lost = True
            elif part is not self.aggregator:
                self.excuse(why, part.email if name.endswith(".blob") else "no data owner")
            elif call == "put":
                # The failed request may also be an older one that waited for a key.
                self.excuse(why, asks=self._batch or None)
            elif name.endswith((".blob", "/syft_flwr.json")):
                self.excuse(why, owner)
        part.link.failed.clear()

    def excuse(self, why: str, owner: str = "", asks: Sequence[Question] | None = None) -> None:
        """Excuse the messages without an outcome: of ``asks`` or of all, and of one data owner if ``owner`` names one."""
        for ask in self.asks if asks is None else asks:
            if not ask.told and owner in ("", ask.owner):
                ask.excuse = ask.excuse or why

    def _is_excused(self, ask: Question) -> bool:
        """Return whether this message, or an equal one to the same data owner, is excused."""
        same = [other for other in self.asks if (other.owner, other.content) == (ask.owner, ask.content)]
        return any(other.excuse or other.lost for other in same)

    def _has_known_effects(self, owner: DataOwner, content: str) -> bool:
        """Return whether the app state of this data owner must count each message with this content."""
        asked = [ask for ask in self.asks if (ask.owner, ask.content) == (owner.email, content)]
        return owner.email not in self.forgotten and not any(ask.excuse or ask.lost for ask in asked)

    def note_time(self) -> None:
        for ask in self.asks:
            if not ask.told and ask.ends and self.clock.monotonic() >= ask.ends:
                ask.excuse = ask.excuse or "its time passed"

    # Actions of the ServerApp

    def send(self, asks: Sequence[Question], steps: float = math.inf) -> None:
        """Send these messages, for the first time or again after a crash."""
        self._batch = asks
        now = self.clock.monotonic()
        for ask in asks:
            # If the aggregator is killed now, the request may be recorded already.
            ask.ends = ask.ends or now + ask.lifetime
        with self.living(0, steps):
            batch = [Ask(a.owner, self.run, "train", "3", a.lifetime, buffers_of(a.content)) for a in asks]
            for ask, message_id in zip(asks, self.aggregator.caller.send(batch), strict=True):
                self._note_id(ask, message_id, now)
        self._batch = ()

    def _note_id(self, ask: Question, message_id: str, now: float) -> None:
        ask.asked = True
        if ask.ids and ask.ids[-1] == message_id:
            return
        if ask.ids and message_id not in ask.ids:
            sent = NAMES.request(ask.owner, AGGREGATOR, ask.ids[-1]) in self.network.ever
            assert self._is_excused(ask) or not sent, f"{ask} was asked again"
            # A new request withdraws the open requests to this data owner that were not sent again so far.
            for later in self.asks:
                if later.owner == ask.owner and not later.asked:
                    later.excuse = later.excuse or "it was withdrawn, because another one was asked again"
            ask.ends, ask.told, ask.excuse = now + ask.lifetime, None, ask.excuse or "it was asked again"
        ask.ids.append(message_id)

    def collect(self, asks: Collection[Question], steps: float = math.inf) -> None:
        """Collect the outcomes that have arrived."""
        ids = {ask.ids[-1]: ask for ask in asks if ask.asked and not ask.collected}
        with self.living(0, steps):
            outcomes = self.aggregator.caller.collect(list(ids))
            for outcome in outcomes:
                self._check(ids[outcome.id], outcome)
            assert not self.aggregator.caller.collect([outcome.id for outcome in outcomes])

    def _check(self, ask: Question, outcome: Outcome[list[bytes]]) -> None:
        assert outcome.recipient == ask.owner
        if outcome.failure:
            # A withdrawn request is never reported as an outcome.
            assert outcome.failure.code != Reason.STOPPED, ask
            told = f"the ClientApp raised {ask.content}"
            failed = outcome.failure.code, outcome.failure.text
            assert self._is_excused(ask) or failed == ("app-raised", told), (ask, failed)
        else:
            assert outcome.answer
            said, *large = outcome.answer
            assert f'"owner": "{ask.owner}", "id": "{outcome.id}", "content": "{ask.content}"'.encode() in said
            assert large == ([outcome.id.encode() * 1_250] if ask.content.endswith("large answer") else [])
        assert ask.told in (None, outcome) or self._is_excused(ask), f"{ask} has another outcome"
        ask.told, ask.collected = outcome, True

    def is_alive(self, number: int, steps: float = math.inf) -> bool:
        """Start a participant if it is dead. Return whether it lives now, because the start may fail or be killed."""
        if not self.everybody[number].alive:
            self.start(number, steps)
        return self.everybody[number].alive

    def has_asked_again(self) -> bool:
        """Send again all messages of an earlier process. Return whether the aggregator is still alive."""
        if self.is_alive(0) and (asks := [ask for ask in self.asks if not ask.asked]):
            self.send(asks)
        return self.aggregator.alive

    def waiting(self) -> list[Question]:
        """Return the messages that this process sent and has not collected."""
        return [ask for ask in self.asks if ask.asked and not ask.collected]

    def lose_patience(self, asks: Collection[Question], silence: float) -> None:
        ids = {ask.ids[-1]: ask for ask in asks}
        for pending in self.aggregator.caller._pending.open(ids):
            ids[pending.id].excuse = ids[pending.id].excuse or "the aggregator stopped waiting for it"
        with self.living(0):
            self.aggregator.caller.limit_call(list(ids), silence)
            self.aggregator.caller.wait(list(ids))
        self.note_time()

    def end_run(self, steps: float = math.inf, *, stop: bool = False) -> None:
        """End the run and the process. The next process begins another run, also if this one was killed before the end."""
        caller = self.aggregator.caller
        with self.living(0, steps):
            caller.close(keep=self.aggregator.say("stop", self.run) if stop else ())
        self.aggregator.die()
        self.asks.clear()
        self.forgotten.clear()
        self.run += 1

    # Checks after each step

    def check_records(self) -> None:
        for owner in self.owners:
            if owner.alive:
                for message_id, answer in owner.answers().items():
                    assert self.answers.setdefault(message_id, answer) == answer, "another answer to the same request"
                self._check_effects(owner)

    def _check_effects(self, owner: DataOwner) -> None:
        state = owner.state_of(self.run)
        assert all(count == 1 for count in state["ids"].values()), "one request had an effect twice"
        asked = [ask for ask in self.asks if ask.owner == owner.email]
        assert state["ids"].keys() <= {message_id for ask in asked for message_id in self._made(owner)}
        for content, number in Counter(ask.content for ask in asked).items():
            if self._has_known_effects(owner, content):
                assert state["contents"].get(content, 0) <= number, f"{content} had an effect too often"

    def _made(self, owner: DataOwner) -> set[str]:
        prefix = f"{NAMES.messages(owner.email)}{AGGREGATOR}/"
        return {name.rpartition("/")[2].partition(".")[0] for name in self.network.ever if name.startswith(prefix)}

    # The end of a sequence

    def heal(self) -> None:
        """Remove all faults, start all participants, and send again all messages of earlier processes."""
        for part in self.everybody:
            part.link.faults.clear()
            part.link.full, part.link.mode = False, "live"
            part.link.release_all()
        for number, part in enumerate(self.everybody):
            if not part.alive:
                self.start(number)
        self.send([ask for ask in self.asks if not ask.asked])

    def drain(self) -> None:
        """Let all participants work until each message has its outcome."""
        for _ in range(_ROUNDS_TO_DRAIN):
            self.look(0)
            for number, owner in enumerate(self.owners, 1):
                self.look(number)
                if not owner.alive:
                    # It read the stop of the run before this one only now.
                    self.start(number)
                owner.work()
        self.look(0)
        self.collect(self.asks)
        assert [ask for ask in self.waiting() if not self._is_excused(ask)] == []
        # A request that disappeared and came back counts as withdrawn, so it gets no reply and expires.
        self.clock.advance(max(LIFETIMES))
        self.look(0)
        self.collect(self.asks)
        assert [ask for ask in self.asks if not ask.collected] == []
        for owner in self.owners:
            self._check_effects(owner)
            for content in CONTENTS[:-1]:
                asked = [ask for ask in self.asks if (ask.owner, ask.content) == (owner.email, content)]
                if self._has_known_effects(owner, content):
                    effects = owner.state_of(self.run)["contents"].get(content, 0)
                    assert effects == len(asked), f"{effects} effects of {asked}"

    def look(self, number: int, events: int = 0, steps: float = math.inf) -> None:
        """Let a participant handle this number of events, or scan everything if the number is 0."""
        part = self.everybody[number]
        with self.living(number, steps):
            part.watcher.follow(events) if events else part.watcher.scan()
            if isinstance(part, DataOwner):
                part.wind_up()

    def end(self) -> None:
        """End the last run and one more run, and check that all files and open records are gone."""
        self.end_run()
        self._look_after_the_end()
        if not self.left_behind:
            assert self.network.carriers() == []
        # The next process deletes files that could not be deleted. A response is left until a person deletes it.
        for owner in self.owners:
            owner.die()
        self.start(0)
        self.end_run()
        self._look_after_the_end()
        assert [n for n in self.network.carriers() if not (n in self.left_behind and n.endswith(".response"))] == []
        rows = self.aggregator.futures._database.rows("SELECT id, state FROM futures")
        assert [row["id"] for row in rows if row["state"] != Future.COLLECTED] == []
        assert self.aggregator.futures._database.rows("SELECT id FROM envelopes WHERE kind = 'request'") == []
        for owner in self.owners:
            assert set(owner.received().values()) <= {Received.CLOSED}
            assert owner.received().keys() <= {row["id"] for row in rows}
            assert owner.answers() == {}
        assert list((self.aggregator.home / "journal").iterdir()) == []

    def _look_after_the_end(self) -> None:
        for number in (1, 2, 1, 2):
            if self.is_alive(number):
                self.look(number)
