"""Shows that a party may be away for a day at any moment: at each write and commit, so at each arrow of both state tables.

The aggregator, one data owner, all data owners or the carrier is away for 24 hours, and the others look at their files.
Without ``msg_timeout``, each message then has the same outcome as without the absence. With its default, the messages to an
absent data owner end in time and with the true reason. The stores are real, and no thread runs (``faultkit.lockstep``).
"""

import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from faultkit.links import Killed, Life
from faultkit.lockstep import OWNERS
from faultkit.world import EVERYBODY, Question, World
from loguru import logger

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.states import Future, Received

DAY = 24 * 3_600.0
LIFETIME = MAX_LIFETIME.total_seconds()
MSG_TIMEOUT = 120.0
#: Seconds between two looks of the present parties, for the first minutes and for the rest of the day.
OFTEN, RARELY, MINUTES = 20.0, 3_600.0, 300.0
CONTENTS = ("large with a large answer", "fail")
#: The numbers of the participants that are away; none for the carrier.
PARTIES = {"aggregator": (0,), "one data owner": (1,), "all data owners": (1, 2), "carrier": ()}
#: The arrows of this exchange. The others belong to requests that fail, and to runs that end.
ARROWS = {
    (Future.CREATED, Future.SENT),
    (Future.SENT, Future.ANSWERED),
    (Future.ANSWERED, Future.COLLECTED),
    (Received.RECEIVED, Received.RUNNING),
    (Received.RUNNING, Received.ANSWERED),
    (Received.ANSWERED, Received.REPLIED),
    (Received.REPLIED, Received.CLOSED),
}


@pytest.fixture(scope="module")
def identities() -> list[Identity]:
    return [Identity.generate() for _ in EVERYBODY]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger.disable("syft_flwr")
    yield
    logger.enable("syft_flwr")


class Day:
    """An exchange of messages with two data owners, of which one party is away for a day."""

    def __init__(self, folder: Path, identities: list[Identity], party: str = "", moment: int = 0) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.world = World(folder, identities, [0.0] * len(EVERYBODY))
        self.party = party
        self.numbers = PARTIES.get(party, ())
        #: The number of writes and commits of this party until it is away.
        self.moment = moment
        self.steps = 0
        self.is_away = False
        #: Whether each message had its outcome soon after ``msg_timeout``.
        self.in_time: list[bool] = []

    def run(self, monkeypatch: pytest.MonkeyPatch, msg_timeout: float) -> "Day":
        self.world.aggregator.msg_timeout = msg_timeout
        for number in (1, 2, 0):
            self.world.start(number)
        self.world.asks = [Question(owner, content, LIFETIME) for content in CONTENTS for owner in OWNERS]
        own_step = Life.step
        with monkeypatch.context() as patch:
            patch.setattr(Life, "step", lambda life: self._step(life) or own_step(life))
            self._exchange(until_away=True)
        if self.is_away:
            self._pass_a_day()
            self._return()
            self._exchange(until_away=False)
        return self

    def _step(self, life: Life) -> None:
        lives = [self.world.everybody[number].link.life for number in self.numbers]
        if self.is_away or (self.numbers and life not in lives):
            return
        self.steps += 1
        if self.steps != self.moment:
            return
        self.is_away = True
        if self.numbers:
            raise Killed
        for part in self.world.everybody:
            part.link.mode = "held"

    def _exchange(self, *, until_away: bool) -> None:
        for _ in range(5):
            for number in range(len(EVERYBODY)):
                self._act(number)
                if until_away and self.is_away:
                    return

    def _act(self, number: int) -> None:
        """Let a participant that is there do all that it can do now."""
        world = self.world
        part = world.everybody[number]
        if not part.alive:
            return
        if number == 0:
            world.send([ask for ask in world.asks if not ask.asked])
        if part.alive:
            world.look(number)
        if part.alive and number == 0:
            world.collect(world.waiting())
        elif part.alive:
            with world.living(number):
                world.owners[number - 1].work()

    def _pass_a_day(self) -> None:
        for number in self.numbers:
            self.world.everybody[number].die()
        absent = {OWNERS[number - 1] for number in self.numbers if number} if self.numbers else set(OWNERS)
        for ask in self.world.asks:
            if ask.owner in absent and self.world.aggregator.msg_timeout < math.inf:
                ask.excuse = "its data owner is away"
        left = DAY
        while left > 0:
            step = OFTEN if DAY - left < MINUTES else RARELY
            self.world.clock.advance(step)
            left -= step
            for number in range(len(EVERYBODY)):
                self._act(number)
            if DAY - left == MSG_TIMEOUT + 2 * OFTEN:
                self.in_time = [ask.told is not None for ask in self.world.asks]

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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, identities: list[Identity]) -> tuple[list[object], int]:
    """Return the outcomes of an exchange in which all parties stay, and the number of its writes and commits."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        day = Day(tmp_path_factory.mktemp("day"), identities, "carrier").run(monkeypatch, math.inf)
    try:
        return day.outcomes(), day.steps
    finally:
        day.close()


def days(
    folder: Path,
    identities: list[Identity],
    party: str,
    moments: Iterable[int],
    monkeypatch: pytest.MonkeyPatch,
    msg_timeout: float,
) -> Iterator[Day]:
    """Yield a day for each moment at which the party is away, and the first one that ends before its moment."""
    for moment in moments:
        day = Day(folder / "day", identities, party, moment).run(monkeypatch, msg_timeout)
        day.close()
        yield day
        if not day.is_away:
            return


def test_every_arrow_of_an_exchange_is_a_moment(
    tmp_path: Path, identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Day(tmp_path, identities, "carrier")
    taken: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], str] = {}

    def note(life: Life) -> None:
        states = day.states()
        taken.update((last[key], state) for key, state in states.items() if key in last and last[key] != state)
        last.update(states)

    monkeypatch.setattr(Day, "_step", lambda _, life: note(life))
    day.run(monkeypatch, math.inf)
    note(Life())
    day.close()
    assert taken >= ARROWS


@pytest.mark.parametrize("party", PARTIES)
def test_a_day_away_changes_no_outcome(
    tmp_path: Path,
    identities: list[Identity],
    undisturbed: tuple[list[object], int],
    monkeypatch: pytest.MonkeyPatch,
    party: str,
) -> None:
    outcomes, most = undisturbed
    moments = 0
    for day in days(tmp_path, identities, party, range(1, most + 1), monkeypatch, math.inf):
        assert day.outcomes() == outcomes, f"away at moment {day.moment}"
        moments += day.is_away
    assert moments > 20


@pytest.mark.parametrize("party", PARTIES)
def test_waits_for_an_absent_party_end_in_time(
    tmp_path: Path,
    identities: list[Identity],
    undisturbed: tuple[list[object], int],
    monkeypatch: pytest.MonkeyPatch,
    party: str,
) -> None:
    outcomes, most = undisturbed
    absent = {OWNERS[number - 1] for number in PARTIES[party] if number} or (
        set(OWNERS) if party == "carrier" else set()
    )
    given_up = 0
    # The other test takes each moment.
    for day in days(tmp_path, identities, party, range(1, most + 1, 3), monkeypatch, MSG_TIMEOUT):
        for ask, told, expected in zip(day.world.asks, day.outcomes(), outcomes, strict=True):
            if told != expected:
                assert ask.owner in absent, f"away at moment {day.moment}"
                code, text = told
                assert (code, text.partition(";")[0]) == (
                    "no-answer",
                    "no reply, and no heartbeat for 120 s (msg_timeout)",
                )
                given_up += 1
        assert all(day.in_time) or party == "aggregator", f"away at moment {day.moment}"
    assert bool(given_up) == bool(absent)
