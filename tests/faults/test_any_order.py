"""Whatever the order in which files come, processes die and time passes: one outcome a request, one effect, no file left.

An aggregator and two data owners exchange messages over a storage that each sees in its own order (``faultkit.links``). A
sequence of steps is made up by Hypothesis: ask, let files through or hold them back, answer, collect, kill anybody at any
write or commit, let time pass, make a call fail, end the run. No thread is started: what the watchers' threads would
call (``_look_at``, ``_look_at_everything``) is called here, one call a step, so that the same steps have the same end
and Hypothesis can shorten a sequence that fails (``faultkit.lockstep``).

The aggregator asks as a deterministic ServerApp does: after a crash it asks from the start what it asked before. At the end,
everything heals, and what must have come of each message is in ``faultkit.world``. With ``ANY_ORDER_EXAMPLES`` so many
sequences are tried, of ``ANY_ORDER_STEPS`` steps, other ones each time.
"""

import itertools
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest
from faultkit.links import Mode
from faultkit.lockstep import OWNERS
from faultkit.world import CONTENTS, EVERYBODY, LIFETIMES, Question, World
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

EXAMPLES = int(os.environ.get("ANY_ORDER_EXAMPLES", "0"))
STEPS = int(os.environ.get("ANY_ORDER_STEPS", "30"))

CALLS = ("full", "put", "get", "open", "keep", "stat", "list", "delete")

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
            batch = [Question(OWNERS[owner], contents[owner], lifetime) for owner in to]
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

    @rule(who=_somebody, call=st.sampled_from(CALLS), after=st.integers(0, 5))
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
    return [Identity.generate() for _ in EVERYBODY]


def run(make: Callable[[], AnyOrder], *, examples: int, steps: int, random: bool) -> None:
    """Try so many sequences of at most so many steps, in one thread and without its log."""
    logger.disable("syft_flwr")
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=not random,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(make, settings=chosen)  # type: ignore[arg-type]
    finally:
        logger.enable("syft_flwr")


@pytest.mark.timeout(120 + EXAMPLES)
def test_in_any_order_each_request_has_one_outcome_and_one_effect_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parts of a message are sealed and opened in turn then, and not by threads.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    folders = itertools.cycle([tmp_path_factory.mktemp("world") for _ in range(2)])

    def make() -> AnyOrder:
        folder = next(folders)
        shutil.rmtree(folder, ignore_errors=True)
        return AnyOrder(folder, identities)

    run(make, examples=EXAMPLES or 60, steps=STEPS, random=bool(EXAMPLES))
