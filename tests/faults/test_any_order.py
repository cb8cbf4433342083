"""Shows that each request has one outcome and one effect, in any order of file arrivals, crashes and delays.

An aggregator and two data owners exchange messages over a storage that each sees in its own order (``faultkit.links``).
Hypothesis makes up a sequence of steps: send, answer, collect, end the run, deliver or hold back files, let a call fail, let
time pass. A step can also kill a process at any write or commit. No thread runs: a step makes one call that a scanner thread would make
(``_look_at`` or ``_look_at_everything``). So the same steps have the same end, and Hypothesis can shorten a sequence that
fails (``faultkit.lockstep``).

The aggregator acts like a deterministic ServerApp: after a crash it sends the same requests again from the start. At the end
all faults are removed. ``faultkit.world`` then checks the outcome of each message, and that no file is left.

``ANY_ORDER_EXAMPLES`` sets a number of random sequences, and ``ANY_ORDER_STEPS`` the steps of each. Without it, the
sequences are always the same.
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

_participant = st.integers(0, len(OWNERS))
_position = st.integers(0, 7)
#: The number of writes and commits after which a step kills its process. Most steps do not.
_dies = st.just(math.inf) | st.just(math.inf) | st.integers(0, 8)
_asks = st.tuples(
    st.sampled_from(CONTENTS),
    st.sampled_from(CONTENTS),
    st.sampled_from([(0,), (1,), (0, 1)]),
    st.sampled_from(LIFETIMES),
)


class AnyOrder(RuleBasedStateMachine):
    """The steps. A step uses its position modulo the number of candidates.

    A step for a killed process starts it first.
    """

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
        """Start all participants and send the first messages. With ``held``, the aggregator does not see the peers' keys yet."""
        self.world = World(self._folder, self._identities, offsets)
        self.world.aggregator.link.mode = mode
        for number in (1, 2, 0):
            self.world.start(number)
        for one in asks:
            self.ask(one, math.inf)

    # The ServerApp

    @rule(asks=_asks, dies=_dies)
    def ask(self, asks: tuple[str, str, tuple[int, ...], float], dies: float) -> None:
        """Send messages to one data owner or to both in one call, with equal or different contents."""
        if self.world.has_asked_again():
            *contents, to, lifetime = asks
            batch = [Question(OWNERS[owner], contents[owner], lifetime) for owner in to]
            self.world.asks += batch
            self.world.send(batch, dies)

    @rule(number=st.integers(1, 4), dies=_dies)
    def ask_again(self, number: int, dies: float) -> None:
        """Send the next few messages again that were sent before the crash."""
        if self.world.is_alive(0, dies):
            self.world.send([ask for ask in self.world.asks if not ask.asked][:number], dies)

    @rule(position=_position, everything=st.booleans(), dies=_dies)
    def collect(self, position: int, everything: bool, dies: float) -> None:
        if self.world.has_asked_again() and (waiting := self.world.waiting()):
            self.world.look(0)
            self.world.collect(waiting if everything else [waiting[position % len(waiting)]], dies)

    @rule(stop=st.booleans(), chance=_position, dies=_dies)
    def end_run(self, stop: bool, chance: int, dies: float) -> None:
        """End the run, with or without a stop message to the data owners."""
        if chance == 0 and self.world.has_asked_again():
            self.world.end_run(dies, stop=stop)

    # The data owners, and the scanners

    @rule(position=st.integers(0, len(OWNERS) - 1), steps=st.integers(1, 6), dies=_dies)
    def work(self, position: int, steps: int, dies: float) -> None:
        """Take the next request, run the app and commit the reply, or only some of these steps."""
        number = position + 1
        if self.world.is_alive(number):
            with self.world.living(number, dies):
                self.world.owners[position].work(steps)

    @rule(position=st.integers(0, len(OWNERS) - 1), steps=st.integers(1, 6), dies=_dies)
    def look_and_work(self, position: int, steps: int, dies: float) -> None:
        if self.world.is_alive(position + 1):
            self.world.look(position + 1)
            self.work(position, steps, dies)

    @rule(who=st.sets(_participant, min_size=1), events=st.integers(0, 20), dies=_dies)
    def look(self, who: set[int], events: int, dies: float) -> None:
        """Handle this number of events, or scan everything if it is 0."""
        for number in sorted(who):
            if self.world.is_alive(number, dies):
                self.world.look(number, events, dies)

    # The sync service

    @rule(
        who=_participant,
        what=st.sampled_from(["live", "silent", "held", "all", "one", "one", "repeat", "hide", "haunt"]),
        position=_position,
    )
    def carry(self, who: int, what: str, position: int) -> None:
        """Change the way in which changes reach one copy; or deliver, repeat, hide or restore a file there."""
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

    @rule(who=_participant)
    def kill(self, who: int) -> None:
        """Kill a process between two steps."""
        self.world.everybody[who].die()

    @rule(who=_participant, call=st.sampled_from(CALLS), after=st.integers(0, 5))
    def fail(self, who: int, call: str, after: int) -> None:
        """Let one of the next calls fail; or switch between a full disk and one with room."""
        link = self.world.everybody[who].link
        if call == "full":
            link.full = not link.full
        else:
            link.faults[call] = after

    @rule(seconds=st.sampled_from([1.0, 61.0, 61.0, 290.0, 3_600.0, 20_000.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.world.note_time()

    @rule(silence=st.sampled_from([30.0, 300.0]), last=st.booleans(), chance=_position)
    def lose_patience(self, silence: float, last: bool, chance: int) -> None:
        """Wait for the last message, or for all, until the silence is too long. No other participant acts during the wait."""
        if chance == 0 and self.world.is_alive(0) and (waiting := self.world.waiting()):
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
    """Run ``examples`` sequences of at most ``steps`` steps, in one thread and without log lines."""
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
def test_any_event_order_gives_one_outcome_and_effect(
    tmp_path_factory: pytest.TempPathFactory, identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one processor, no threads seal and open the parts of a message.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    folders = itertools.cycle([tmp_path_factory.mktemp("world") for _ in range(2)])

    def make() -> AnyOrder:
        folder = next(folders)
        shutil.rmtree(folder, ignore_errors=True)
        return AnyOrder(folder, identities)

    run(make, examples=EXAMPLES or 60, steps=STEPS, random=bool(EXAMPLES))
