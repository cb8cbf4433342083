"""Shows that a party may be away for a day at each arrow of both state tables that belongs to a fault or to a limit.

Each message of the exchange meets one fault. The party leaves when an arrow is taken. ``test_away.py`` has the other arrows.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
from chaoskit.away import ARROWS, LIFETIME, MSG_TIMEOUT, OFTEN, PARTIES, Day
from faultkit.links import File, Life, Link
from faultkit.lockstep import OWNERS, Mortal
from faultkit.stepwise import DataOwner
from faultkit.world import Question

from syft_flwr._crypto.keys import Identity
from syft_flwr._store.states import FUTURE_ARROWS, RECEIVED_ARROWS, Received
from syft_flwr.errors import StorageFullError, UnavailableError

pytestmark = pytest.mark.usefixtures("quiet")

OWNER, OTHER = OWNERS
#: A lifetime that ends during the exchange, after more than ``msg_timeout``.
SHORT = 200.0
#: The messages to the first data owner in order, with their lifetimes.
MESSAGES = {
    # The reply is read before the aggregator has recorded that it sent the message.
    "early": LIFETIME,
    # The disk is full when its file is written.
    "full": LIFETIME,
    # The storage is out of reach when its file is written.
    "unwritten": SHORT,
    # The sync service refuses its file.
    "refused": LIFETIME,
    # An object of the reply is damaged on its way.
    "damaged with a large answer": LIFETIME,
    # No object of the reply arrives.
    "incomplete with a large answer": SHORT,
    # The file of the reply cannot be written.
    "unsent": SHORT,
    # The app does not end, and a message waits behind it.
    "stuck": SHORT,
    "behind": SHORT,
}
Arrow = tuple[str, str]
_FUTURES: set[Arrow] = {(start, end) for start, ends in FUTURE_ARROWS.items() for end in ends}
_RECEIVED: set[Arrow] = {(start, end) for start, ends in RECEIVED_ARROWS.items() for end in ends}
OTHER_ARROWS = sorted((_FUTURES | _RECEIVED) - ARROWS)
_TABLES = {"futures.db": "futures", "ledger.db": "received"}


class FaultyDay(Day):
    """An exchange in which each message meets its fault. One party is away for a day from an arrow on.

    Args:
        arrow: the arrow; the party leaves when it is taken for the first time.
        lost: leave before its commit, which is lost if a participant of the party makes it. Otherwise, leave after it.
    """

    rarely = 6 * 3_600.0

    def __init__(
        self, folder: Path, identities: list[Identity], party: str = "", arrow: Arrow = ("", ""), *, lost: bool = False
    ) -> None:
        super().__init__(folder, identities, party)
        self.taken: set[Arrow] = set()
        self._arrow, self._lost = arrow, lost
        #: The message that the aggregator sends, and the one that a data owner works on, at this moment.
        self._sending = self._working = ""
        #: The content of the message to which an envelope or an object belongs, by its id.
        self._contents: dict[str, str] = {}
        for part in self.world.everybody:
            self._spoil(part.link)

    def questions(self) -> list[Question]:
        asks = [Question(OWNER, content, lifetime) for content, lifetime in MESSAGES.items()]
        asks.append(Question(OTHER, "small", LIFETIME))
        for ask in asks:
            ask.excuse = "it meets a fault"
        return asks

    # The moment

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        own = Mortal.transaction

        @contextmanager
        def transaction(mortal: Mortal, *, durable: bool = True) -> Iterator[Connection]:
            table = _TABLES.get(mortal.inner._path.name)
            with own(mortal, durable=durable) as connection:
                before = states_in(connection, table)
                yield connection
                after = states_in(connection, table)
                arrows = {(state, after[key]) for key, state in before.items() if after.get(key, state) != state}
                self._take(arrows if self._lost else set(), mortal._life)
            self._take(arrows, mortal._life)

        patch.setattr(Mortal, "transaction", transaction)

    def _take(self, arrows: set[Arrow], life: Life) -> None:
        self.taken |= arrows
        if self._arrow in arrows and not self.is_away:
            self.leave(life)

    def exchange(self, *, until_away: bool) -> None:
        """Exchange the messages until the short lifetimes are over."""
        super().exchange(until_away=until_away)
        left = SHORT + 2 * OFTEN
        while left > 0 and not (until_away and self.is_away) and not all(ask.told for ask in self.world.asks):
            self.world.clock.advance(OFTEN)
            left -= OFTEN
            super().exchange(until_away=until_away, rounds=1)
        if not (until_away and self.is_away):
            super().exchange(until_away=until_away, rounds=2)

    # The faults

    def _spoil(self, link: Link) -> None:
        put, file = link.put, link._file

        def check_put_and_note(name: str, data: Any, **options: Any) -> None:
            self._check_put(name)
            put(name, data, **options)
            self._note_put(name)

        link.put = check_put_and_note  # type: ignore[method-assign]
        link._file = lambda name: self._arrived(link, name, file(name))  # type: ignore[method-assign]

    def _content_of(self, name: str) -> str:
        """Return the content of the message to which a file belongs; empty for another file."""
        if "/objects/" not in name and "/rpc/messages/" not in name:
            return ""
        return self._contents.setdefault(name.rpartition("/")[2].partition(".")[0], self._working or self._sending)

    def _check_put(self, name: str) -> None:
        content = self._content_of(name)
        if content == "full":
            raise StorageFullError(f"no room left to write {name}")
        if content == "unwritten" or (content == "unsent" and name.endswith(".response")):
            raise UnavailableError(f"{name}: the storage is out of reach")

    def _note_put(self, name: str) -> None:
        content = self._content_of(name)
        if content == "refused":
            self.world.network.refused.add(name)
        if content == "early" and name.endswith(".request") and self._sending:
            # The data owner is fast, and another thread of the aggregator reads the reply.
            self.act(1)
            self.world.aggregator.watcher.scan()

    def _arrived(self, link: Link, name: str, file: File | None) -> File | None:
        """Return a file as the copy of a participant has it."""
        if not file or link._is_mine(name):
            return file
        content = self._content_of(name)
        if content == "refused" or (content.startswith("incomplete") and "/objects/" in name):
            return None
        if content.startswith("damaged") and "/objects/" in name:
            data, readers = file
            return data[:-1] + bytes([data[-1] ^ 1]), readers
        return file

    # The participants

    def send(self, asks: list[Question]) -> None:
        for ask in asks:
            if self.world.aggregator.alive:
                self._sending = ask.content
                super().send([ask])
        self._sending = ""

    def work(self, owner: DataOwner) -> None:
        while owner.job or owner.responder._queue._queue:
            if owner.job is None:
                owner.take()
                continue
            message_id = owner.job.request.header.id
            if owner.received()[message_id] == Received.CLOSED:
                owner.job = None
                continue
            if self._contents[message_id] == "stuck":
                return
            self._working = self._contents[message_id]
            try:
                owner.work(2)
            finally:
                self._working = ""

    def outcomes(self) -> list[object]:
        """Return the outcome of each message, without ids, and without the progress that a failure tells."""
        return [told if isinstance(told, list) else brief(*told) for told in super().outcomes()]  # type: ignore[misc]


def brief(code: str, text: str) -> tuple[str, str]:
    return code, re.sub("[0-9a-f]{32}", "id", text.partition(";")[0])


def states_in(connection: Connection, table: str | None) -> dict[str, str]:
    rows = connection.execute(f"SELECT id, state FROM {table}") if table else ()
    return {row["id"]: row["state"] for row in rows}


@contextmanager
def a_day(
    folder: Path, identities: list[Identity], msg_timeout: float, *absence: Any, lost: bool = False
) -> Iterator[FaultyDay]:
    """Yield a day after its exchange. Then its run must leave no file and no open record."""
    day = FaultyDay(folder / "day", identities, *absence, lost=lost)
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            day.run(monkeypatch, msg_timeout)
        yield day
        day.world.end()
    finally:
        day.close()


def is_taken_by(party: str, arrow: Arrow) -> bool:
    """Return whether the absent party itself takes the arrow."""
    return party != "carrier" and (arrow in _FUTURES) == (party == "aggregator")


@pytest.mark.parametrize("msg_timeout", [math.inf, MSG_TIMEOUT])
def test_faults_take_each_arrow_that_no_good_exchange_takes(
    tmp_path: Path, identities: list[Identity], msg_timeout: float
) -> None:
    with a_day(tmp_path, identities, msg_timeout) as day:
        assert day.taken >= set(OTHER_ARROWS)


@pytest.mark.parametrize("party", PARTIES)
def test_a_day_away_at_a_fault_changes_no_outcome(tmp_path: Path, identities: list[Identity], party: str) -> None:
    with a_day(tmp_path, identities, math.inf) as day:
        expected = day.outcomes()
    for arrow, lost in product(OTHER_ARROWS, (False, True)):
        if lost and not is_taken_by(party, arrow):
            continue
        with a_day(tmp_path, identities, math.inf, party, arrow, lost=lost) as day:
            assert day.is_away, arrow
            assert day.outcomes() == expected, (arrow, lost)


@pytest.mark.parametrize("party", PARTIES)
def test_waits_for_a_party_away_at_a_fault_end_in_time(tmp_path: Path, identities: list[Identity], party: str) -> None:
    absent = {OWNERS[number - 1] for number in PARTIES[party] if number} if PARTIES[party] else set(OWNERS)
    silent = ("no-answer", "no reply, and no heartbeat for 120 s (msg_timeout)")
    over = ("no-answer", "no reply within 200 s, the ttl of the message")
    with a_day(tmp_path, identities, MSG_TIMEOUT) as day:
        expected = day.outcomes()
    for arrow in OTHER_ARROWS:
        with a_day(tmp_path, identities, MSG_TIMEOUT, party, arrow) as day:
            assert day.is_away, arrow
            for ask, told, usual, after in zip(day.world.asks, day.outcomes(), expected, day.told_after, strict=True):
                is_silent, is_short = ask.owner in absent, ask.lifetime == SHORT
                true = [usual, *([silent] if is_silent else []), *([over] if is_short else [])]
                assert told in true, (arrow, ask)
                latest = SHORT if is_short and not is_silent else MSG_TIMEOUT
                assert after <= latest + 2 * OFTEN or party == "aggregator", (arrow, ask)
