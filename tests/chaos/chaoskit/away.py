"""A day without one party: the aggregator, one data owner, all data owners, or the carrier.

The others look at their files meanwhile. The stores are real, and no thread runs (``faultkit.lockstep``).
"""

import math
import shutil
from pathlib import Path

import pytest
from faultkit.links import Killed, Life
from faultkit.lockstep import OWNERS
from faultkit.stepwise import DataOwner
from faultkit.world import EVERYBODY, Question, World

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.states import Future, Received

DAY = 24 * 3_600.0
LIFETIME = MAX_LIFETIME.total_seconds()
MSG_TIMEOUT = 120.0
#: Seconds between two looks of the present parties, for the first minutes.
OFTEN, MINUTES = 20.0, 300.0
CONTENTS = ("large with a large answer", "fail")
#: The arrows of this exchange.
ARROWS: set[tuple[str, str]] = {
    (Future.CREATED, Future.SENT),
    (Future.SENT, Future.ANSWERED),
    (Future.ANSWERED, Future.COLLECTED),
    (Received.RECEIVED, Received.RUNNING),
    (Received.RUNNING, Received.ANSWERED),
    (Received.ANSWERED, Received.REPLIED),
    (Received.REPLIED, Received.CLOSED),
}
#: The numbers of the participants that are away; none for the carrier.
PARTIES = {"aggregator": (0,), "one data owner": (1,), "all data owners": (1, 2), "carrier": ()}


class Day:
    """An exchange of messages with two data owners, of which one party is away for a day."""

    #: Seconds between two looks of the present parties, for the rest of the day.
    rarely = 3_600.0

    def __init__(self, folder: Path, identities: list[Identity], party: str = "", moment: int = 0) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.world = World(folder, identities, [0.0] * len(EVERYBODY))
        self.party = party
        self.numbers = PARTIES.get(party, ())
        #: The number of writes and commits of this party until it is away.
        self.moment = moment
        self.steps = 0
        self.is_away = False
        #: The seconds of the absence after which each message had its outcome; infinity if it had none.
        self.told_after = [math.inf] * len(self.questions())

    def run(self, monkeypatch: pytest.MonkeyPatch, msg_timeout: float) -> "Day":
        self.world.aggregator.msg_timeout = msg_timeout
        for number in (1, 2, 0):
            self.world.start(number)
        self.world.asks = self.questions()
        with monkeypatch.context() as patch:
            self.watch(patch)
            self.exchange(until_away=True)
        if self.is_away:
            self._pass_a_day()
            self._return()
            self.exchange(until_away=False)
        return self

    def questions(self) -> list[Question]:
        return [Question(owner, content, LIFETIME) for content in CONTENTS for owner in OWNERS]

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Let the party leave at its moment."""
        own_step = Life.step
        patch.setattr(Life, "step", lambda life: self._step(life) or own_step(life))

    def _step(self, life: Life) -> None:
        if self.is_away or (self.numbers and not self._is_of_party(life)):
            return
        self.steps += 1
        if self.steps == self.moment:
            self.leave(life)

    def _is_of_party(self, life: Life) -> bool:
        return life in [self.world.everybody[number].link.life for number in self.numbers]

    def leave(self, acting: Life) -> None:
        """Let the party be away from now on. Raise Killed if the participant that acts now belongs to it."""
        self.is_away = True
        if self._is_of_party(acting):
            raise Killed
        for number in self.numbers:
            self.world.everybody[number].die()
        if not self.numbers:
            for part in self.world.everybody:
                part.link.mode = "held"

    def exchange(self, *, until_away: bool, rounds: int = 5) -> None:
        for _ in range(rounds):
            for number in range(len(EVERYBODY)):
                self.act(number)
                if until_away and self.is_away:
                    return

    def act(self, number: int) -> None:
        """Let a participant that is there do all that it can do now."""
        world = self.world
        part = world.everybody[number]
        if not part.alive:
            return
        if number == 0:
            self.send([ask for ask in world.asks if not ask.asked])
        if part.alive:
            world.look(number)
        if part.alive and number == 0:
            world.collect(world.waiting())
        elif part.alive:
            with world.living(number):
                self.work(world.owners[number - 1])

    def send(self, asks: list[Question]) -> None:
        self.world.send(asks)

    def work(self, owner: DataOwner) -> None:
        owner.work()

    def _pass_a_day(self) -> None:
        for number in self.numbers:
            self.world.everybody[number].die()
        absent = {OWNERS[number - 1] for number in self.numbers if number} if self.numbers else set(OWNERS)
        for ask in self.world.asks:
            if ask.owner in absent and self.world.aggregator.msg_timeout < math.inf:
                ask.excuse = "its data owner is away"
        left = DAY
        while left > 0:
            step = OFTEN if DAY - left < MINUTES else self.rarely
            self.world.clock.advance(step)
            left -= step
            for number in range(len(EVERYBODY)):
                self.act(number)
            for number, ask in enumerate(self.world.asks):
                if ask.told:
                    self.told_after[number] = min(self.told_after[number], DAY - left)

    def _return(self) -> None:
        for number, part in enumerate(self.world.everybody):
            part.link.mode = "live"
            part.link.release_all()
            if not part.alive:
                self.world.start(number)

    def outcomes(self) -> list[object]:
        """Return the outcome of each message, without the ids of its request."""
        found: list[object] = []
        for ask in self.world.asks:
            assert ask.told is not None, f"{ask} has no outcome"
            failure = ask.told.failure
            said = [part.replace(ask.told.id.encode(), b"id") for part in ask.told.answer or ()]
            found.append((failure.code, failure.text) if failure else said)
        return found

    def close(self) -> None:
        self.world.stores.close()

    def states(self) -> dict[tuple[str, str], str]:
        """Return the recorded state of each request at both sides."""
        rows = self.world.aggregator.futures._database.rows("SELECT id, state FROM futures")
        found = {("aggregator", row["id"]): row["state"] for row in rows}
        for owner in self.world.owners:
            found |= {(owner.email, message_id): state for message_id, state in owner.received().items()}
        return found
