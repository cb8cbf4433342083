"""Whatever the order in which files come, processes die and time passes: one outcome a request, one effect, no file left.

An aggregator and two data owners exchange messages over a storage that each sees in its own order (``faultkit.links``). A
sequence of steps is made up by Hypothesis: ask, let files through or hold them back, answer, collect, kill anybody at any
write or commit, let time pass, make a call fail, end the run. No thread is started: what the watchers' threads would
call (``_look_at``, ``_look_at_everything``) is called here, one call a step, so that the same steps have the same end
and Hypothesis can shorten a sequence that fails (``faultkit.lockstep``).

The aggregator asks as a deterministic ServerApp does: after a crash it asks from the start what it asked before. An
answer must come of each request; it is excused only if its time passed, nobody waited for it any longer, its file was
hidden from its data owner, or a call failed while it was on its way.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from faultkit.links import Killed, Link, Mode, RoughNetwork
from faultkit.lockstep import AGGREGATOR, NAMES, OWNERS, SYSTEM, Aggregator, DataOwner, LoneClock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from loguru import logger

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.caller import Outcome
from syft_flwr._messaging.pending import Outgoing
from syft_flwr._messaging.reasons import Reason
from syft_flwr._messaging.states import Future, Received
from syft_flwr.errors import TransportError
from syft_flwr.testing.clock import FakeClock

#: Plaintext bytes of an object; a large message has three.
PART = 16_000
CONTENTS = ("small", "large", "small with a large answer", "large with a large answer", "fail")
LIFETIMES = (600.0, 43_200.0)

_EVERYBODY = (AGGREGATOR, *OWNERS)
_ROUNDS_TO_DRAIN = 12


def buffers_of(content: str) -> list[bytes]:
    return [content.encode(), *([content[:1].encode() * 40_000] if content.startswith("large") else [])]


@dataclass
class Ask:
    """One message of the ServerApp, and what came of it."""

    owner: str
    content: str
    lifetime: float
    #: The requests that were made for it: another one only if the one before cannot be taken up.
    ids: list[str] = field(default_factory=list)
    #: When the last of them expires, on the clock of all.
    ends: float = 0.0
    #: Why there may be no answer, or more than one effect.
    excuse: str = ""
    #: The outcome that the ServerApp was given by any process; and whether this process was asked, and gave it.
    told: Outcome[list[bytes]] | None = None
    #: A copy of its answer could not be kept, so that it may be asked again after a crash.
    lost: bool = False
    asked: bool = False
    collected: bool = False


class World:
    """The participants, the storage between them, and what is known of each message."""

    def __init__(self, folder: Path, identities: Sequence[Identity], offsets: Sequence[float]) -> None:
        self.clock = FakeClock()
        self.network = RoughNetwork(part_size=PART)
        self.stores = ExitStack()
        links = [Link(self.network, email) for email in _EVERYBODY]
        parts = list(zip(links, identities, [LoneClock(self.clock, offset) for offset in offsets], strict=True))
        self.aggregator = Aggregator(folder / AGGREGATOR, *parts[0], self.stores)
        self.owners = [DataOwner(folder / link.email, link, *rest, self.stores) for link, *rest in parts[1:]]
        self.run = 1
        self.asks: list[Ask] = []
        self._batch: Sequence[Ask] = ()
        #: The answers that data owners ever recorded, by request.
        self.answers: dict[str, bytes] = {}

    @property
    def everybody(self) -> list[Aggregator | DataOwner]:
        return [self.aggregator, *self.owners]

    def start(self, number: int, steps: float = math.inf) -> None:
        """Start a participant's process."""
        with self.living(number, steps):
            if number:
                self.owners[number - 1].start()
            else:
                for ask in self.asks:
                    ask.asked = ask.collected = False
                self.aggregator.start(self.run)

    @contextmanager
    def living(self, number: int, steps: float = math.inf) -> Iterator[None]:
        """Let one participant do something. Calls may fail, and it is killed after so many writes and commits."""
        part = self.everybody[number]
        part.link.life.left = steps
        try:
            yield
            part.link.life.left = math.inf
        except (Killed, TransportError) as end:
            # A start that fails ends the process.
            if isinstance(end, TransportError) and (part.alive or not part.link.failed):
                raise
            part.die()
        finally:
            self._excuse_failed(part)

    def _excuse_failed(self, part: Aggregator | DataOwner) -> None:
        """Expect no answer where a call failed that is not made again. All others are."""
        for call, name in part.link.failed:
            why = f"{call} of {name} failed"
            owner = name.partition("/")[0]
            if call == "keep":
                for ask in self.asks:
                    ask.lost = True
            elif part is not self.aggregator:
                self.excuse(why, part.email if name.endswith(".blob") else "nobody")
            elif call == "put":
                self.excuse(why, asks=self._batch)
            elif name.endswith((".blob", "/syft_flwr.json")):
                self.excuse(why, owner)
        part.link.failed.clear()

    def excuse(self, why: str, owner: str = "", asks: Sequence[Ask] | None = None) -> None:
        """Expect no answer to what has none: of these, of one data owner, or of all."""
        for ask in self.asks if asks is None else asks:
            if not ask.told and owner in ("", ask.owner):
                ask.excuse = ask.excuse or why

    def note_time(self) -> None:
        for ask in self.asks:
            if not ask.told and ask.ids and self.clock.monotonic() >= ask.ends:
                ask.excuse = ask.excuse or "its time passed"

    # What the ServerApp does

    def send(self, asks: Sequence[Ask], steps: float = math.inf) -> None:
        """Ask, for the first time or after a crash again."""
        self._batch = asks
        now = self.clock.monotonic()
        for ask in asks:
            # If it is killed now, it may be on record.
            ask.ends = ask.ends or now + ask.lifetime
        with self.living(0, steps):
            batch = [Outgoing(a.owner, self.run, "train", "3", a.lifetime, buffers_of(a.content)) for a in asks]
            for ask, message_id in zip(asks, self.aggregator.caller.send(batch), strict=True):
                self._note_id(ask, message_id, now)

    def _note_id(self, ask: Ask, message_id: str, now: float) -> None:
        ask.asked = True
        if ask.ids and ask.ids[-1] == message_id:
            return
        if ask.ids and message_id not in ask.ids:
            sent = NAMES.request(ask.owner, AGGREGATOR, ask.ids[-1]) in self.network.ever
            assert ask.excuse or ask.lost or not sent, f"{ask} was asked again"
            # What is asked of this data owner after it was withdrawn, and is asked anew.
            for later in self.asks:
                if later.owner == ask.owner and not later.asked:
                    later.excuse = later.excuse or "it was withdrawn, because another one was asked again"
            ask.ends = now + ask.lifetime
        ask.ids.append(message_id)

    def collect(self, asks: Collection[Ask], steps: float = math.inf) -> None:
        """Take the outcomes that are there."""
        ids = {ask.ids[-1]: ask for ask in asks if ask.asked and not ask.collected}
        with self.living(0, steps):
            outcomes = self.aggregator.caller.collect(list(ids))
            for outcome in outcomes:
                self._check(ids[outcome.id], outcome)
            assert not self.aggregator.caller.collect([outcome.id for outcome in outcomes])

    def _check(self, ask: Ask, outcome: Outcome[list[bytes]]) -> None:
        assert outcome.recipient == ask.owner
        if outcome.failure:
            # What we withdrew ourselves is no outcome.
            assert outcome.failure.code != Reason.STOPPED, (ask, outcome)
            told = f"the ClientApp raised {ask.content}"
            assert ask.excuse or (outcome.failure.code, outcome.failure.text) == ("app-raised", told), (ask, outcome)
        else:
            assert outcome.answer
            said, *large = outcome.answer
            assert f'"owner": "{ask.owner}", "id": "{outcome.id}", "content": "{ask.content}"'.encode() in said
            assert large == ([outcome.id.encode() * 1_250] if ask.content.endswith("large answer") else [])
        assert ask.told in (None, outcome) or ask.lost or ask.excuse, (ask, outcome)
        ask.told, ask.collected = outcome, True

    def is_alive(self, number: int, steps: float = math.inf) -> bool:
        """Start a participant that is dead; say whether it lives now: it may be killed at once, or fail."""
        if not self.everybody[number].alive:
            self.start(number, steps)
        return self.everybody[number].alive

    def has_asked_again(self) -> bool:
        """Let the ServerApp ask all that an earlier process asked; say whether it lived so long."""
        if self.is_alive(0) and (asks := [ask for ask in self.asks if not ask.asked]):
            self.send(asks)
        return self.aggregator.alive

    def waiting(self) -> list[Ask]:
        """Return what was asked by this process and has no outcome that was collected."""
        return [ask for ask in self.asks if ask.asked and not ask.collected]

    def lose_patience(self, asks: Collection[Ask], silence: float) -> None:
        ids = {ask.ids[-1]: ask for ask in asks}
        for pending in self.aggregator.caller._pending.incomplete(ids):
            ids[pending.id].excuse = ids[pending.id].excuse or "nobody waited for it any longer"
        with self.living(0):
            self.aggregator.caller.wait(list(ids), silence=silence)
        self.note_time()

    def end_run(self, steps: float = math.inf, *, stop: bool = False) -> None:
        """End the run, and the process; the next one begins another run, also if this one was killed on the way."""
        caller = self.aggregator.caller
        with self.living(0, steps):
            words = [Outgoing(email, self.run, SYSTEM, "final", 43_200.0, [b"stop"]) for email in OWNERS if stop]
            caller.close(keep=caller.send(words))
        self.aggregator.die()
        self.asks.clear()
        self.run += 1

    # What must always hold

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
            if not any(ask.excuse or ask.lost for ask in asked if ask.content == content):
                assert state["contents"].get(content, 0) <= number, f"{content} had an effect too often"

    def _made(self, owner: DataOwner) -> set[str]:
        prefix = f"{NAMES.messages(owner.email)}{AGGREGATOR}/"
        return {name.rpartition("/")[2].partition(".")[0] for name in self.network.ever if name.startswith(prefix)}

    # The end

    def heal(self) -> None:
        """Let nothing stand in the way any more."""
        for part in self.everybody:
            part.link.faults.clear()
            part.link.full, part.link.mode = False, "live"
            part.link.release_all()
        for number, part in enumerate(self.everybody):
            if not part.alive:
                self.start(number)
        self.send([ask for ask in self.asks if not ask.asked])

    def drain(self) -> None:
        """Let everybody work until all have their outcome."""
        for _ in range(_ROUNDS_TO_DRAIN):
            self.look(0)
            for number, owner in enumerate(self.owners, 1):
                self.look(number)
                if not owner.alive:
                    # A stop of the run before this one, of which it had not heard.
                    self.start(number)
                owner.work()
        self.look(0)
        self.collect(self.asks)
        assert [ask for ask in self.asks if not ask.collected] == []
        for owner in self.owners:
            self._check_effects(owner)
            for content in CONTENTS[:-1]:
                asked = [ask for ask in self.asks if (ask.owner, ask.content) == (owner.email, content)]
                if not any(ask.excuse or ask.lost for ask in asked):
                    assert owner.state_of(self.run)["contents"].get(content, 0) == len(asked)

    def look(self, number: int, events: int = 0, steps: float = math.inf) -> None:
        """Let a participant look at so many events, or at everything."""
        part = self.everybody[number]
        with self.living(number, steps):
            part.watcher.follow(events) if events else part.watcher.scan()
            if isinstance(part, DataOwner):
                part.wind_up()

    def end(self) -> None:
        """End the last run, and a run after it, and expect nothing to be left."""
        for number in range(2):
            if number:
                self.start(0)
            self.end_run()
            for owner in (1, 2, 1, 2):
                if self.is_alive(owner):
                    self.look(owner)
            assert self.network.carriers() == []
        rows = self.aggregator.futures._database.rows("SELECT id, state, request, response FROM futures")
        assert [row["id"] for row in rows if row["state"] != Future.COLLECTED or row["request"]] == []
        for owner in self.owners:
            assert set(owner.received().values()) <= {Received.CLOSED}
            assert owner.received().keys() <= {row["id"] for row in rows}
            assert owner.answers() == {}
        assert list((self.aggregator.home / "journal").iterdir()) == []


_somebody = st.integers(0, len(OWNERS))
_position = st.integers(0, 7)
#: After how many writes and commits a process is killed that does something: mostly, it is not.
_dies = st.just(math.inf) | st.just(math.inf) | st.integers(0, 8)
_asks = st.tuples(
    st.sampled_from(CONTENTS),
    st.sampled_from(CONTENTS),
    st.sampled_from([(0,), (1,), (0, 1)]),
    st.sampled_from(LIFETIMES),
)


class AnyOrder(RuleBasedStateMachine):
    """The steps. Positions are taken modulo what there is; who was killed is started when there is something to do."""

    def __init__(self, folder: Path, identities: Sequence[Identity]) -> None:
        super().__init__()
        self._folder = folder
        self._identities = identities
        self.world: World

    @initialize(
        offsets=st.tuples(*[st.sampled_from([0.0, 100.0, -100.0])] * 3),
        mode=st.sampled_from(["live", "live", "live", "held"]),
        asks=st.lists(_asks, min_size=1, max_size=3),
    )
    def begin(
        self, offsets: tuple[float, ...], mode: Mode, asks: list[tuple[str, str, tuple[int, ...], float]]
    ) -> None:
        """Start everybody, and ask; with ``held``, the aggregator does not see the keys of the others yet."""
        self.world = World(self._folder, self._identities, offsets)
        self.world.aggregator.link.mode = mode
        for number in (1, 2, 0):
            self.world.start(number)
        for one in asks:
            self.ask(one, math.inf)

    # The ServerApp

    @rule(asks=_asks, dies=_dies)
    def ask(self, asks: tuple[str, str, tuple[int, ...], float], dies: float) -> None:
        """Ask one data owner, or both, the same or not, in one call."""
        if self.world.has_asked_again():
            *contents, to, lifetime = asks
            batch = [Ask(OWNERS[owner], contents[owner], lifetime) for owner in to]
            self.world.asks += batch
            self.world.send(batch, dies)

    @rule(number=st.integers(1, 4), dies=_dies)
    def ask_again(self, number: int, dies: float) -> None:
        """Ask the next few of what was asked before the crash."""
        if self.world.is_alive(0, dies):
            self.world.send([ask for ask in self.world.asks if not ask.asked][:number], dies)

    @rule(position=_position, everything=st.booleans(), dies=_dies)
    def collect(self, position: int, everything: bool, dies: float) -> None:
        if self.world.has_asked_again() and (waiting := self.world.waiting()):
            self.world.look(0)
            self.world.collect(waiting if everything else [waiting[position % len(waiting)]], dies)

    @rule(stop=st.booleans(), seldom=_position, dies=_dies)
    def end_run(self, stop: bool, seldom: int, dies: float) -> None:
        """End the run, with a word to the data owners or without."""
        if seldom == 0 and self.world.has_asked_again():
            self.world.end_run(dies, stop=stop)

    # The data owners, and the watchers

    @rule(position=st.integers(0, len(OWNERS) - 1), steps=st.integers(1, 6), dies=_dies)
    def work(self, position: int, steps: int, dies: float) -> None:
        """Take the next request, run the app, commit the answer; or some of these steps only."""
        number = position + 1
        if self.world.is_alive(number):
            with self.world.living(number, dies):
                self.world.owners[position].work(steps)

    @rule(position=st.integers(0, len(OWNERS) - 1), steps=st.integers(1, 6), dies=_dies)
    def look_and_work(self, position: int, steps: int, dies: float) -> None:
        if self.world.is_alive(position + 1):
            self.world.look(position + 1)
            self.work(position, steps, dies)

    @rule(who=st.sets(_somebody, min_size=1), events=st.integers(0, 20), dies=_dies)
    def look(self, who: set[int], events: int, dies: float) -> None:
        """Look at so many events, or at everything."""
        for number in sorted(who):
            if self.world.is_alive(number, dies):
                self.world.look(number, events, dies)

    # The sync service

    @rule(
        who=_somebody,
        what=st.sampled_from(["live", "silent", "held", "all", "one", "one", "repeat", "hide", "haunt"]),
        position=_position,
    )
    def carry(self, who: int, what: str, position: int) -> None:
        """Change how changes come to one copy; or let some come, come again, go, or come back."""
        link = self.world.everybody[who].link
        if what in ("live", "silent", "held"):
            link.mode = cast("Mode", what)
        elif what == "all":
            link.release_all()
        else:
            names, act = {
                "one": (list(link.stale), link.release),
                "repeat": (link.foreign(), link.events.append),
                "hide": (link.foreign(), link.hide),
                "haunt": (link.lost(), link.haunt),
            }[what]
            if names:
                act(names[position % len(names)])
                if what == "hide" and who:
                    self.world.excuse("a file was hidden from its data owner", link.email)

    # Crashes, faults and time

    @rule(who=_somebody)
    def kill(self, who: int) -> None:
        """Kill a process between two things that it does."""
        self.world.everybody[who].die()

    @rule(who=_somebody, call=st.sampled_from(["full", "put", "get", "open", "keep", "stat"]), after=st.integers(0, 5))
    def fail(self, who: int, call: str, after: int) -> None:
        """Let one of the next calls fail; or let a disk be full, or have room again."""
        link = self.world.everybody[who].link
        if call == "full":
            link.full = not link.full
        else:
            link.faults[call] = after

    @rule(seconds=st.sampled_from([1.0, 61.0, 61.0, 290.0, 3_600.0, 20_000.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.world.note_time()

    @rule(silence=st.sampled_from([30.0, 300.0]), last=st.booleans(), seldom=_position)
    def lose_patience(self, silence: float, last: bool, seldom: int) -> None:
        """Wait for the last that was asked, or for all, as long as there may be silence; nobody does anything then."""
        if seldom == 0 and self.world.is_alive(0) and (waiting := self.world.waiting()):
            self.world.lose_patience(waiting[-1:] if last else waiting, silence)

    @invariant()
    def one_answer_and_one_effect_a_request(self) -> None:
        if hasattr(self, "world"):
            self.world.check_records()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.stores:
            self.world.heal()
            self.world.drain()
            self.world.end()


@pytest.fixture(scope="module")
def identities() -> list[Identity]:
    return [Identity.generate() for _ in _EVERYBODY]


def run(make: Callable[[], AnyOrder], **options: object) -> None:
    """Run the machine, in one thread and without its log."""
    logger.disable("syft_flwr")
    try:
        run_state_machine_as_test(make, settings=settings(**options))  # type: ignore[arg-type, no-untyped-call]
    finally:
        logger.enable("syft_flwr")


def test_in_any_order_each_request_has_one_outcome_and_one_effect_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parts of a message are sealed and opened in turn then, and not by threads.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    run(
        lambda: AnyOrder(tmp_path_factory.mktemp("world"), identities),
        max_examples=60,
        stateful_step_count=30,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
