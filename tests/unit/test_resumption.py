"""An aggregator that was killed and started again: nothing is asked twice that need not be, and nothing is left behind.

A kill is an abandoned caller: its watcher stops, and nothing of it is closed.
"""

import itertools
import json
import math
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.responder import Responder
from syft_flwr._messaging.asking.caller import Caller, Outcome
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.body import Failure, failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr._store.states import Future, Received
from syft_flwr.names import AppNames
from syft_flwr.runs.costs import RunLog
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


class Killed(BaseException):
    """What a process that was killed does not get any further than."""


class Life:
    """How many more writes, deletions and commits of an aggregator there will be."""

    def __init__(self) -> None:
        self.left: float = math.inf
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            if self.left <= 0:
                raise Killed
            self.left -= 1


class Written(MemoryTransport):
    """Remembers what was written, in order, as long as its process lives."""

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
        """Return the names that were written since the last time."""
        taken, self.names = self.names, []
        return taken


class Recorded(Futures):
    """Commits as long as its process lives."""

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


class Owner:
    """A data owner, whose app is the test."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self.folder = endpoint.mine
        self.responder = Responder(endpoint, ledger=ledger, aggregator=DS, control=lambda request, backlog: None)
        #: Ids of the requests that the app was given.
        self.ran: list[str] = []

    def _next(self) -> Request:
        request = self.responder.next()
        assert request is not None
        self.ran.append(request.header.id)
        return request

    def answer(self, *buffers: bytes) -> Request:
        """Take the next request, and answer it with ``buffers``."""
        request = self._next()
        assert self.responder.answer(request, make_body(buffers, self.folder, run=RUN, readers=[DS]))
        return request

    def fail(self, code: Reason, text: str, reference: str = "") -> None:
        assert self.responder.answer(self._next(), failure(code, text, reference))


class Federation:
    """An aggregator that can be killed, and two data owners that live on."""

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
            self.owners[email] = Owner(endpoint, self.ledgers[email])
        self._trust(self.transport, DS, folder / "card").publish()
        for owner in self.owners.values():
            owner.responder.start()
        self.taken_up = 0

    def _trust(self, transport: MemoryTransport, email: str, home: Path) -> Trust:
        trust = Trust(transport, email, self._identities[email], Peers(home / "peers.db"), self.clock)
        self._stores.callback(trust.close)
        return trust

    def start(self, *, run: int = RUN, limit: int = NO_LIMIT) -> None:
        """Start the aggregator as a process does that was just born."""
        self.life.left = math.inf
        self.futures = Recorded(self.home / "futures.db", self.life)
        self._stores.callback(self.futures.close)
        trust = self._trust(self.transport, DS, self.home)
        self.caller: Caller[list[bytes]] = Caller(
            Endpoint(self.transport, trust, NAMES, encryption=True, clock=self.clock),
            futures=self.futures,
            kept_answers=KeptAnswers(self.home / "journal", limit),
            datasites=OWNERS,
            run_log=RunLog(self.home / "runs"),
            decode=list,
        )
        self.run = run
        self.taken_up = self.caller.open_run(run)
        self.caller.start()
        self.transport.take()

    def kill(self) -> None:
        self.life.left = 0
        self.caller._scanner.stop()

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

    def lines(self) -> list[dict[str, Any]]:
        path = self.home / "runs" / f"{RUN:016x}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def left(self, suffixes: tuple[str, ...] = (".request", ".response", ".blob")) -> set[str]:
        """Return the names of the messages and objects that lie in the network."""
        with self.network.lock:
            return {name for name in self.network.files if name.endswith(suffixes)}

    def wait_until_left(self, expected: set[str], suffixes: tuple[str, ...]) -> None:
        """Wait until this is what lies in the network; data owners delete what is theirs in a thread of their own."""
        deadline = time.monotonic() + PATIENCE
        while self.left(suffixes) != expected and time.monotonic() < deadline:
            time.sleep(0.005)
        assert self.left(suffixes) == expected

    def wait_until_recorded(self, email: str, message_id: str, state: Received) -> None:
        """Wait until a data owner has a request on record in this state, which no step but a later one changes."""
        deadline = time.monotonic() + PATIENCE
        while not ((row := self.ledgers[email].get(message_id)) and row.state == state):
            assert time.monotonic() < deadline, (row, state)
            time.sleep(0.005)

    def close(self) -> None:
        """End the run, as an aggregator that was not killed."""
        self.caller.close()
        assert not [name for name in self.left() if name.startswith(DS) or name.endswith(".request")]
        self.wait_until_left(set(), (".request", ".response", ".blob"))
        assert not list((self.home / "journal").iterdir())

    def give_back(self) -> None:
        self.kill()
        for owner in self.owners.values():
            owner.responder.stop()
        self._stores.close()


@pytest.fixture
def federation(tmp_path: Path, anna: Identity, ben: Identity, eve: Identity) -> Iterator[Federation]:
    federation = Federation(tmp_path, (anna, ben, eve))
    federation.start()
    try:
        yield federation
        federation.close()
    finally:
        federation.give_back()


# What was answered


def test_what_was_answered_comes_from_the_record_and_is_asked_of_nobody(federation: Federation) -> None:
    model, updates = os.urandom(45_000), {email: os.urandom(33_000) for email in OWNERS}
    ids = federation.ask(b"head", model)
    for email, owner in federation.owners.items():
        owner.answer(b"done", updates[email])
    first = federation.collect(ids)
    assert [outcome.answer for outcome in first] == [[b"done", updates[email]] for email in OWNERS]

    for _ in range(2):
        federation.restart()
        assert federation.taken_up == 2
        # The data owners have deleted what they answered, so it can come from nowhere else.
        federation.wait_until_left(set(), (".request", ".response", ".blob"))

        again = federation.ask(b"head", bytes(bytearray(model)))

        assert again == ids
        assert federation.caller.collect(again) == first
        assert federation.transport.take() == []
    assert [owner.ran for owner in federation.owners.values()] == [[ids[0]], [ids[1]]]


def test_what_comes_from_the_record_is_accounted_for_once(federation: Federation) -> None:
    ids = federation.ask(b"work")
    for owner in federation.owners.values():
        owner.answer(b"done")
    federation.collect(ids)
    before = federation.lines(), federation.rows()

    federation.restart()
    federation.collect(federation.ask(b"work"))

    assert (federation.lines(), federation.rows()) == before
    assert len(before[0]) == 2


def test_what_one_answered_and_the_other_did_not_is_told_apart(federation: Federation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].answer(b"one")
    federation.collect(ids[:1])

    federation.restart()
    again = federation.ask(b"work")

    assert again == ids
    assert federation.caller.collect(again)[0].answer == [b"one"]
    federation.owners[DO2].answer(b"two")
    assert federation.answers(ids[1:]) == [[b"two"]]
    assert [len(owner.ran) for owner in federation.owners.values()] == [1, 1]


def test_the_next_round_is_asked_live(federation: Federation) -> None:
    ids = federation.ask(b"round 1", to=[DO1])
    federation.owners[DO1].answer(b"1")
    federation.collect(ids)

    federation.restart()
    assert federation.answers(federation.ask(b"round 1", to=[DO1])) == [[b"1"]]
    second = federation.ask(b"round 2", to=[DO1])
    federation.owners[DO1].answer(b"2")

    assert federation.answers(second) == [[b"2"]]
    assert federation.owners[DO1].ran == [*ids, *second]


@pytest.mark.parametrize(
    "changes",
    [{"to": [DO2]}, {"type": "evaluate"}, {"group": "4"}, {"buffers": [b"worK"]}, {"buffers": [b"wo", b"rk"]}],
    ids=["addressee", "type", "group", "content", "boundaries"],
)
def test_another_addressee_type_group_or_content_is_another_request(
    federation: Federation, changes: dict[str, Any]
) -> None:
    federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(list(federation.rows()))

    federation.restart()
    fields: dict[str, Any] = {"to": [DO1], "buffers": [b"work"], **changes}
    (message_id,) = federation.ask(*fields.pop("buffers"), **fields)

    assert federation.caller.collect([message_id]) == []
    federation.owners[fields["to"][0]].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]


@pytest.mark.parametrize("changes", [{"round": "9"}, {"lifetime": 60.0}], ids=["round", "lifetime"])
def test_what_is_for_people_or_for_the_clock_makes_no_other_request(
    federation: Federation, changes: dict[str, Any]
) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()

    assert federation.ask(b"work", to=[DO1], **changes) == ids
    assert federation.caller.collect(ids)[0].answer == [b"done"]


def test_the_same_asked_several_times_is_matched_in_order(federation: Federation) -> None:
    ids = []
    for number in range(2):
        # Of requests that were made at the same time, any may be run first.
        ids += federation.ask(b"work", to=[DO1])
        federation.owners[DO1].answer(b"%d" % number)
    ids += federation.ask(b"work", to=[DO1])
    federation.collect(ids[:2])

    federation.restart()
    again = federation.caller.send(
        [Ask(DO1, RUN, "train", "3", LIFETIME, [b"work"]) for _ in range(3)],
    )

    assert again == ids
    assert [outcome.answer for outcome in federation.caller.collect(again)] == [[b"0"], [b"1"]]
    federation.owners[DO1].answer(b"2")
    assert federation.answers(ids[2:]) == [[b"2"]]
    (fourth,) = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"3")
    assert federation.answers([fourth]) == [[b"3"]]
    assert federation.owners[DO1].ran == [*ids, fourth]


def test_an_answer_of_the_record_is_given_to_one_asking_only(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"once")
    federation.collect(ids)

    federation.restart()
    assert federation.answers(federation.ask(b"work", to=[DO1])) == [[b"once"]]
    (second,) = federation.ask(b"work", to=[DO1])

    assert second not in ids
    assert federation.caller.collect([second]) == []
    federation.owners[DO1].answer(b"twice")
    assert federation.answers([second]) == [[b"twice"]]


def test_an_outcome_of_the_record_that_nobody_collects_is_no_trouble(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()
    federation.ask(b"work", to=[DO1])
    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [b"done"]


# What was not kept


def test_what_did_not_fit_into_the_journal_is_asked_again(federation: Federation) -> None:
    federation.restart(limit=0)
    ids = federation.ask(b"work")
    for owner in federation.owners.values():
        owner.answer(b"first")
    federation.collect(ids)

    federation.restart()
    again = federation.ask(b"work")

    assert not set(again) & set(ids)
    for owner in federation.owners.values():
        owner.answer(b"second")
    assert federation.answers(again) == [[b"second"], [b"second"]]


def test_what_was_asked_again_because_it_was_lost_is_asked_no_third_time(federation: Federation) -> None:
    federation.restart(limit=0)
    lost = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"first")
    federation.collect(lost)
    federation.restart()
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"second")
    federation.collect(ids)

    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [b"second"]
    assert federation.owners[DO1].ran == [*lost, *ids]


def test_the_rounds_before_the_journal_was_full_are_not_asked_again(federation: Federation) -> None:
    federation.restart(limit=50_000)
    updates = [os.urandom(40_000) for _ in range(3)]
    ids = []
    for number, update in enumerate(updates):
        ids += federation.ask(b"round %d" % number, to=[DO1])
        federation.owners[DO1].answer(update)
        federation.collect(ids[-1:])

    federation.restart(limit=50_000)
    assert federation.ask(b"round 0", to=[DO1]) == ids[:1]
    assert federation.caller.collect(ids[:1])[0].answer == updates[:1]
    for number in (1, 2):
        (message_id,) = federation.ask(b"round %d" % number, to=[DO1])
        federation.owners[DO1].answer(b"anew")
        assert federation.answers([message_id]) == [[b"anew"]]


@pytest.mark.parametrize("damage", ["deleted", "cut", "changed"])
def test_an_answer_that_was_damaged_in_the_journal_is_asked_again(
    federation: Federation, damage: str, logged: list[str]
) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(os.urandom(45_000))
    federation.collect(ids)
    federation.kill()
    (path, *_) = sorted((federation.home / "journal").rglob("*"), reverse=True)
    content = path.read_bytes()
    path.unlink()
    if damage != "deleted":
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert any(DO1 in line and "asked again" in line for line in logged)
    federation.owners[DO1].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]


def test_an_envelope_that_was_damaged_on_record_is_asked_again(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)
    response = federation.futures.response(ids[0])
    assert response is not None
    federation.kill()
    with federation.futures._database.transaction() as connection:
        damaged = response[:-1] + bytes([response[-1] ^ 1])
        connection.execute("UPDATE futures SET response = ?", (damaged,))

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    federation.owners[DO1].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]


# What is on its way


def test_what_is_on_its_way_is_waited_for_and_not_sent_again(federation: Federation) -> None:
    model = os.urandom(45_000)
    ids = federation.ask(b"head", model)
    lying = federation.left()

    federation.restart()
    assert federation.taken_up == 2
    again = federation.ask(b"head", bytes(bytearray(model)))

    assert again == ids
    assert federation.left() == lying
    assert not [name for name in federation.transport.take() if name.endswith(".blob")]
    for owner in federation.owners.values():
        owner.answer(b"done")
    assert federation.answers(again) == [[b"done"], [b"done"]]
    assert [owner.ran for owner in federation.owners.values()] == [[ids[0]], [ids[1]]]


def test_a_request_whose_file_was_not_written_yet_is_written(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    name = NAMES.request(DO1, DS, ids[0])
    federation.kill()
    federation.owners[DO1].responder.stop()
    with federation.network.lock:
        content, readers = federation.network.files.pop(name)

    federation.start()
    assert federation.ask(b"work", to=[DO1]) == ids

    assert federation.network.files[name] == (content, readers)


def test_an_answer_that_came_while_nobody_listened_is_found(federation: Federation) -> None:
    ids = federation.ask(b"work")
    federation.kill()
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    federation.owners[DO2].fail(Reason.APP_RAISED, "it raised")

    federation.start()
    assert federation.ask(b"work") == ids
    first, second = federation.collect(ids)

    assert first.answer == [update]
    assert second.failure == Failure(code="app-raised", text="it raised")
    assert [len(owner.ran) for owner in federation.owners.values()] == [1, 1]


def test_an_answer_that_was_read_and_given_to_nobody_is_given(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(os.urandom(45_000))
    federation.caller.wait(ids, timeout=PATIENCE)
    assert federation.rows()[ids[0]].state == Future.ANSWERED

    federation.restart()
    assert federation.ask(b"work", to=[DO1]) == ids

    (answer,) = federation.answers(ids)
    assert answer is not None
    assert len(answer[0]) == 45_000
    assert len(federation.owners[DO1].ran) == 1


def test_what_was_taken_up_is_kept_for_the_next_crash(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.restart()
    federation.ask(b"work", to=[DO1])
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    assert federation.answers(ids) == [[update]]

    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [update]
    assert federation.owners[DO1].ran == ids


# What goes another way


def test_what_is_asked_otherwise_is_asked_live_and_the_stale_request_withdrawn(federation: Federation) -> None:
    stale = federation.ask(b"work", os.urandom(45_000))

    federation.restart()
    (other,) = federation.ask(b"other work", to=[DO1])

    # Only to the addressee that is asked something else; the other may still be asked what it was.
    assert federation.left((".request",)) == {
        NAMES.request(DO1, DS, other),
        NAMES.request(DO2, DS, stale[1]),
    }
    row = federation.rows()[stale[0]]
    assert (row.state, row.code) == (Future.COLLECTED, Reason.STOPPED)
    federation.owners[DO1].responder.finish()


def test_what_was_withdrawn_is_asked_anew_if_it_is_asked_after_all(federation: Federation) -> None:
    stale = federation.ask(b"work", to=[DO1])

    federation.restart()
    other = federation.ask(b"other work", to=[DO1])
    again = federation.ask(b"work", to=[DO1])

    assert not set(again) & set(stale)
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, i) for i in (*other, *again)}


def test_a_request_is_withdrawn_only_after_all_that_is_asked_with_it_was_matched(federation: Federation) -> None:
    one, two = federation.ask(b"one", to=[DO1]) + federation.ask(b"two", to=[DO1])

    federation.restart()
    batch = [Ask(DO1, RUN, "train", "3", LIFETIME, [content]) for content in (b"new", b"two", b"one")]
    ids = federation.caller.send(batch)

    assert ids[1:] == [two, one]
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id) for message_id in ids}


def test_what_nobody_asks_again_is_withdrawn_when_the_run_ends(federation: Federation) -> None:
    federation.ask(b"work", os.urandom(45_000))

    federation.restart()
    assert len(federation.left((".request",))) == 2
    federation.close()

    assert [(row.state, row.code) for row in federation.rows().values()] == [(Future.COLLECTED, Reason.STOPPED)] * 2


def test_another_run_withdraws_what_the_killed_one_asked(federation: Federation) -> None:
    ids = federation.ask(b"work", os.urandom(45_000))

    federation.restart(run=RUN + 1)

    assert federation.taken_up == 0
    assert federation.left((".request", ".blob")) == set()
    ended = [(row.state, row.code, row.request) for row in federation.futures.of_run(RUN)]
    assert ended == [(Future.COLLECTED, Reason.STOPPED, None)] * 2
    again = federation.ask(b"work", to=[DO1])
    assert not set(again) & set(ids)


def test_what_was_withdrawn_because_it_was_not_asked_is_asked_anew_after_the_next_crash(
    federation: Federation,
) -> None:
    stale = federation.ask(b"work", to=[DO1])
    federation.restart()
    other = federation.ask(b"other work", to=[DO1])
    federation.wait_until_left({NAMES.request(DO1, DS, other[0])}, (".request",))

    federation.restart()
    (message_id,) = federation.ask(b"work", to=[DO1])

    # Nobody was ever told that it was withdrawn, so it is no outcome to be repeated.
    assert message_id not in stale
    assert federation.caller.collect([message_id]) == []


# Failures


def test_a_failure_that_was_collected_is_repeated_word_for_word(federation: Federation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].fail(Reason.APP_RAISED, "it raised: no such column", "ab12")
    federation.owners[DO2].fail(Reason.WORKER_DIED, "killed")
    first = federation.collect(ids)
    expected = [
        Failure(code="app-raised", text="it raised: no such column", reference="ab12"),
        Failure(code="worker-died", text="killed"),
    ]
    assert [outcome.failure for outcome in first] == expected

    for _ in range(2):
        federation.restart()
        assert federation.ask(b"work") == ids
        assert federation.caller.collect(ids) == first
        assert federation.transport.take() == []
    assert [len(owner.ran) for owner in federation.owners.values()] == [1, 1]


def test_that_there_was_no_answer_is_repeated_if_it_was_collected(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.caller.give_up(ids, "no answer within 5 s")
    first = federation.collect(ids)

    federation.restart()
    again = federation.ask(b"work", to=[DO1])

    assert federation.caller.collect(again) == first
    assert first[0].failure == Failure(code="no-answer", text="no answer within 5 s")


def test_a_failure_that_nobody_was_told_of_is_tried_again(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.caller.give_up(ids, "no answer within 5 s")
    assert federation.rows()[ids[0]].state == Future.EXPIRED

    federation.restart()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}


def test_a_request_that_expired_meanwhile_is_asked_again(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.kill()
    federation.clock.advance(LIFETIME + 1)

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}
    # Its data owner may have run the first before it expired.
    federation.wait_until_left(set(), (".response",))


def test_a_request_that_expired_and_was_asked_again_is_taken_up_after_the_next_crash(federation: Federation) -> None:
    federation.ask(b"work", to=[DO1])
    federation.kill()
    federation.clock.advance(LIFETIME + 1)
    federation.start()
    (second,) = federation.ask(b"work", to=[DO1])

    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == [second]
    federation.wait_until_left({NAMES.request(DO1, DS, second)}, (".request",))


def test_an_answer_that_came_in_time_is_read_after_the_time_is_over(federation: Federation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.kill()
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    federation.clock.advance(LIFETIME + 1)

    federation.start()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.answers(ids) == [[update]]


def test_a_request_that_waited_for_a_key_is_made_anew(federation: Federation) -> None:
    with federation.network.lock:
        card = federation.network.files.pop(f"{DO2}/public/syft_flwr.json")
    ids = federation.ask(b"work", to=[DO2])
    assert federation.rows()[ids[0]].request is None
    federation.kill()
    with federation.network.lock:
        federation.network.files[f"{DO2}/public/syft_flwr.json"] = card

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO2])
    federation.owners[DO2].answer(b"done")

    assert message_id not in ids
    assert federation.answers([message_id]) == [[b"done"]]


# What is asked in any case


def test_a_word_that_must_be_said_again_is_never_taken_from_the_record(federation: Federation) -> None:
    ids = federation.ask(b"start", type="system", once=False)
    federation.owners[DO1].answer(b"known")
    federation.collect(ids[:1])
    federation.wait_until_recorded(DO2, ids[1], Received.RECEIVED)

    federation.restart()
    # What waited for DO2 was withdrawn at once, and is said anew.
    assert federation.taken_up == 0
    assert federation.left((".request",)) == set()
    assert [row.state for row in federation.rows().values()] == [Future.COLLECTED] * 2
    federation.wait_until_recorded(DO2, ids[1], Received.CLOSED)
    again = federation.ask(b"start", type="system", once=False)

    assert not set(again) & set(ids)
    federation.owners[DO1].answer(b"known")
    federation.owners[DO2].answer(b"known")
    assert federation.answers(again) == [[b"known"], [b"known"]]


def test_what_was_asked_once_answers_no_word_that_must_be_said_again(federation: Federation) -> None:
    ids = federation.ask(b"same", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()
    (message_id,) = federation.ask(b"same", to=[DO1], once=False)

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}


def test_a_word_that_must_be_said_again_withdraws_nothing(federation: Federation) -> None:
    ids = federation.ask(b"work")
    federation.ask(b"start", type="system", once=False)

    federation.restart()
    federation.ask(b"start", type="system", once=False)

    assert federation.ask(b"work") == ids
    assert {NAMES.request(email, DS, i) for email, i in zip(OWNERS, ids, strict=True)} < federation.left((".request",))


# Objects


def test_objects_of_the_earlier_process_go_with_the_last_request_that_needs_them(federation: Federation) -> None:
    model = os.urandom(45_000)
    ids = federation.ask(b"head", model)
    objects = federation.left((".blob",))
    assert len(objects) == 5

    federation.restart()
    assert federation.left((".blob",)) == objects
    assert federation.ask(b"head", model) == ids
    federation.owners[DO1].answer(b"done")
    federation.collect(ids[:1])
    assert federation.left((".blob",)) == objects

    federation.owners[DO2].answer(b"done")
    federation.collect(ids[1:])
    assert federation.left((".blob",)) == set()


def test_objects_of_requests_that_are_asked_no_more_go_when_the_run_goes_another_way(federation: Federation) -> None:
    federation.ask(b"head", os.urandom(45_000))

    federation.restart()
    federation.ask(b"other", b"small")

    assert federation.left((".blob",)) == set()


def test_objects_of_requests_that_nobody_asks_again_go_at_the_end(federation: Federation) -> None:
    federation.ask(b"head", os.urandom(45_000))

    federation.restart()
    federation.caller.close()

    assert federation.left((".blob", ".request")) == set()


def test_objects_that_no_request_refers_to_go_at_the_start(federation: Federation) -> None:
    model = os.urandom(45_000)
    answered = federation.ask(b"head", model, to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(answered)
    # Still there, because the next round may have them again; and some that a crash left before they were recorded.
    orphans = federation.left((".blob",))
    folder = ObjectFolder(federation.transport, NAMES, DS, True)
    for run in (RUN, RUN + 1):
        folder.write([os.urandom(25_000)], run=run, readers=OWNERS, shared=True)
    needed = federation.ask(b"head", os.urandom(35_000), to=[DO2])
    kept = set(federation.rows()[needed[0]].objects)
    assert len(orphans) == 5

    federation.restart()

    assert federation.left((".blob",)) == {NAMES.object(DS, object_id) for object_id in kept}


def test_objects_of_answers_are_left_to_whom_they_belong(federation: Federation) -> None:
    # A participant may be aggregator and data owner at once.
    folder = ObjectFolder(federation.transport, NAMES, DS, True)
    body = make_body([os.urandom(45_000)], folder, run=RUN, readers=[DO1])

    federation.restart()

    assert folder.missing(body.manifest.objects) == []
    folder.delete(body.manifest.object_ids)


# The end


def test_a_run_that_ended_is_not_taken_up(federation: Federation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].answer(b"done")
    federation.owners[DO2].fail(Reason.APP_RAISED, "it raised")
    federation.collect(ids)
    federation.close()

    federation.start()
    assert federation.taken_up == 0
    again = federation.ask(b"work")

    assert not set(again) & set(ids)
    for owner in federation.owners.values():
        owner.answer(b"anew")
    assert federation.answers(again) == [[b"anew"], [b"anew"]]


def test_a_run_that_ended_leaves_no_envelope_on_record(federation: Federation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].answer(b"done")
    federation.collect(ids[:1])
    assert federation.futures.response(ids[0])

    federation.close()

    assert [row.request for row in federation.rows().values()] == [None, None]
    assert [federation.futures.response(message_id) for message_id in ids] == [None, None]


# Whenever it is killed


Rounds = list[tuple[list[int], tuple[str, ...]]]


class Script:
    """A ServerApp that asks the same each time: rounds, each a number of contents to each of some data owners."""

    def __init__(self, federation: Federation, rounds: Rounds) -> None:
        self.federation = federation
        self.rounds = rounds
        #: The answers that it was given so far.
        self.told: list[list[bytes] | None] = []

    @property
    def total(self) -> int:
        """How many requests there are."""
        return sum(len(contents) * len(addressees) for contents, addressees in self.rounds)

    def steps(self) -> Iterator[None]:
        """Run it, with a pause after every step, at which it may be killed."""
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
        """Let the data owner that was asked run this request, if it did not, and those that came before it."""
        for email, owner in self.federation.owners.items():
            while NAMES.request(email, DS, message_id) in self.federation.left() and message_id not in owner.ran:
                owner.answer(b"%d" % len(owner.ran), os.urandom(40_000))


ROUNDS: st.SearchStrategy[Rounds] = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=1, max_size=3),
        st.sampled_from([(DO1,), (DO2,), OWNERS]),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture
def identities(anna: Identity, ben: Identity, eve: Identity) -> tuple[Identity, ...]:
    return anna, ben, eve


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=ROUNDS, kills=st.lists(st.integers(0, 30), max_size=4))
def test_however_often_it_is_killed_all_is_run_once_and_the_app_is_told_the_same(
    tmp_path_factory: pytest.TempPathFactory, identities: tuple[Identity, ...], rounds: Rounds, kills: list[int]
) -> None:
    federation = Federation(tmp_path_factory.mktemp("federation"), identities)
    scripts = []
    try:
        for steps in (*kills, None):
            federation.start()
            scripts.append(Script(federation, rounds))
            for _ in itertools.islice(scripts[-1].steps(), steps):
                pass
            if steps is not None:
                federation.kill()
        last = scripts[-1]
        assert len(last.told) == last.total
        assert all(script.told == last.told[: len(script.told)] for script in scripts)
        ran = [message_id for owner in federation.owners.values() for message_id in owner.ran]
        assert len(ran) == len(set(ran)) == last.total
        federation.close()
        for email, owner in federation.owners.items():
            rows = [federation.ledgers[email].get(message_id) for message_id in owner.ran]
            assert all(row and row.state == Received.CLOSED for row in rows)
    finally:
        federation.give_back()


def lives_to_the_end(folder: Path, identities: Sequence[Identity], life: int) -> bool:
    """Run a script that is killed after so many steps, and then again; say whether it came to its end the first time."""
    federation = Federation(folder, identities, part_size=1 << 20)
    federation.start()
    rounds: Rounds = [([0, 0], OWNERS), ([1], (DO1,))]
    first = last = Script(federation, rounds)
    ended, killed = False, False
    federation.life.left = life
    try:
        try:
            for _ in first.steps():
                pass
            # A grid notes the end first: from here on, the run is not taken up any more.
            ended = True
            federation.caller.close()
        except Killed:
            killed = True
            federation.restart(run=RUN + 1 if ended else RUN)
        if not ended:
            last = Script(federation, rounds)
            for _ in last.steps():
                pass
        assert len(last.told) == last.total
        assert first.told == last.told[: len(first.told)]
        assert [len(owner.ran) for owner in federation.owners.values()] == [3, 2]
        federation.life.left = math.inf
        federation.close()
    finally:
        federation.give_back()
    return not killed


def test_after_a_kill_at_any_write_deletion_or_commit_all_is_run_once_and_nothing_is_left(
    tmp_path: Path, identities: tuple[Identity, ...]
) -> None:
    life = 0
    while not lives_to_the_end(tmp_path / str(life), identities, life):
        life += 1
    assert life > 20
