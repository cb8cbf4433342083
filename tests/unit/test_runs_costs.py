"""The costs of each message in the events: its outcome, its bytes and its seconds."""

import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._crypto.segments import sealed_size
from syft_flwr._messaging.answering.responder import Request, Responder
from syft_flwr._messaging.asking.caller import Caller
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.outcomes import Outcome
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.body import Body, failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr.errors import MalformedError, StorageFullError
from syft_flwr.names import AppNames, in_inbox, is_object
from syft_flwr.runs.events import Event, RequestEnded, RequestSent, moment
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Data
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

DS, DO1, DO2 = "ds@x.org", "do1@y.org", "do2@z.org"
OWNERS = (DO1, DO2)
NAMES = AppNames("accounts")
RUN = 7
PART = 10_000
PATIENCE = 20.0


class Counting(MemoryTransport):
    """A transport that counts the written bytes of messages, and can simulate a full disk."""

    def __init__(self, network: MemoryNetwork, email: str) -> None:
        super().__init__(network, email)
        self.sizes: dict[str, int] = {}
        self.full = ""
        #: Closed while requests are to arrive later.
        self.gate = threading.Event()
        self.gate.set()

    def get(self, name: str, *, max_size: int) -> bytes:
        self.gate.wait(PATIENCE)
        return super().get(name, max_size=max_size)

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        content = data if isinstance(data, bytes) else b"".join(bytes(buffer) for buffer in data)
        if self.full and name.endswith(self.full):
            raise StorageFullError(f"no room left to write {name}")
        super().put(name, content, readers=readers, replace=replace)
        if in_inbox(name) or is_object(name):
            self.sizes[name] = len(content)

    def take_sizes(self, suffix: str = "") -> int:
        """Return the number of bytes that were written since the last call."""
        taken = {name: size for name, size in self.sizes.items() if name.endswith(suffix)}
        self.sizes = {}
        return sum(taken.values())


@dataclass
class Owner:
    """A data owner; the test takes the place of its app."""

    transport: Counting
    responder: Responder
    folder: ObjectFolder
    fault: Body | None = None

    def answer(self, *buffers: bytes, **seconds: float) -> Request:
        """Answer the next request with ``buffers``; ``seconds`` is the time spent on each phase."""
        request = self.responder.next()
        assert request is not None
        body = make_body(buffers, self.folder, run=RUN, readers=[DS])
        assert self.responder.answer(request, body.spent(**seconds))
        return request

    def answer_damaged(self, network: MemoryNetwork, buffer: bytes) -> None:
        """Answer the next request with an object, and replace its bytes by zeros in the storage."""
        request = self.responder.next()
        assert request is not None
        body = make_body([buffer], self.folder, run=RUN, readers=[DS])
        name = NAMES.object(self.folder.owner, body.manifest.objects[0].id)
        content, readers = network.files[name]
        network.files[name] = (bytes(len(content)), readers)
        assert self.responder.answer(request, body)

    def fail(self, body: Body) -> None:
        request = self.responder.next()
        assert request is not None
        assert self.responder.answer(request, body)


@dataclass
class Exchange:
    """An aggregator and two data owners."""

    clock: FakeClock
    network: MemoryNetwork
    transport: Counting
    caller: Caller[list[bytes]]
    owners: dict[str, Owner]
    #: The events of all runs, in order.
    events: list[tuple[int, Event]] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)
    #: The latest trouble of each data owner.
    troubles: dict[str, str] = field(default_factory=dict)

    def send(self, *buffers: bytes, to: Collection[str] = OWNERS, run: int = RUN, **changes: Any) -> list[str]:
        fields = {"type": "train", "group": "3", "lifetime": 86_400.0, **changes}
        return self.caller.send([Ask(email, run=run, buffers=buffers, **fields) for email in to])

    def collect(self, ids: list[str]) -> list[Outcome[list[bytes]]]:
        self.caller.wait(ids, timeout=PATIENCE) if ids else None
        return self.caller.collect(ids)

    def sent(self) -> list[RequestSent]:
        return [event for _, event in self.events if isinstance(event, RequestSent)]

    def ended(self, run: int = RUN) -> list[RequestEnded]:
        return [event for number, event in self.events if isinstance(event, RequestEnded) and number == run]

    def outcomes(self) -> list[str]:
        """Return, for each ended request, the code of its failure, or ``answered``."""
        assert all((end.outcome == "failed") == bool(end.reason) for end in self.ended())
        return [end.reason or end.outcome for end in self.ended()]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    clock = FakeClock(patience=PATIENCE)
    network = MemoryNetwork(poll_interval=0.02, part_size=PART)
    transports = {email: Counting(network, email) for email in (DS, *OWNERS)}
    trusts = {
        email: Trust(transport, email, Identity.generate(), Peers(tmp_path / email / "peers.db"), clock)
        for email, transport in transports.items()
    }
    trusts[DS].publish()
    owners, ledgers, troubles = {}, list[Ledger](), dict[str, str]()
    for email in OWNERS:
        ledgers.append(Ledger(tmp_path / email / "ledger.db"))
        responder = Responder(
            Endpoint(transports[email], trusts[email], NAMES, encryption=True, clock=clock),
            ledger=ledgers[-1],
            aggregator=DS,
            control=lambda request, backlog: None,
            on_turn=partial(troubles.__setitem__, email),
        )
        responder.start()
        owners[email] = Owner(transports[email], responder, ObjectFolder(transports[email], NAMES, email, True))
    futures = Futures(tmp_path / DS / "futures.db")
    events: list[tuple[int, Event]] = []
    caller = Caller(
        Endpoint(transports[DS], trusts[DS], NAMES, encryption=True, clock=clock),
        futures=futures,
        kept_answers=KeptAnswers(tmp_path / DS / "journal", 1 << 40),
        datasites=OWNERS,
        on_event=lambda run, event: events.append((run, event)),
        decode=list,
    )
    caller.start()
    yield Exchange(clock, network, transports[DS], caller, owners, events, ledgers, troubles)
    caller.close()
    for owner in owners.values():
        owner.responder.stop()
    for store in (futures, *ledgers, *trusts.values()):
        store.close()
    assert not [name for name in network.files if name.endswith(".blob") and name.startswith(DS)]


def test_broadcast_bytes_add_up(exchange: Exchange) -> None:
    model, update = os.urandom(45_000), os.urandom(33_000)
    objects = sealed_size(PART) * 4 + sealed_size(5_000)

    ids = exchange.send(b"metadata", model)
    written = dict(exchange.transport.sizes)
    requests = {
        email: exchange.transport.sizes[NAMES.request(email, DS, i)] for email, i in zip(OWNERS, ids, strict=True)
    }
    for owner in exchange.owners.values():
        owner.answer(b"metadata", update)
    exchange.collect(ids)

    first, second = exchange.sent()
    # Replies with an object are read by other threads, so any of the two can end first.
    ended = {end.message: end for end in exchange.ended()}
    assert [first.message, second.message] == ids
    assert set(ended) == set(ids)
    assert [sent.data_owner for sent in (first, second)] == list(OWNERS)
    # The first request is charged with the bytes of the shared objects.
    assert first.bytes == objects + requests[DO1]
    assert first.bytes_saved == 0
    assert second.bytes == requests[DO2]
    assert second.bytes_saved == objects
    assert first.bytes + second.bytes == sum(written.values())
    for sent in (first, second):
        end = ended[sent.message]
        assert sent.bytes + sent.bytes_saved == objects + requests[sent.data_owner]
        assert end.bytes == exchange.owners[end.data_owner].transport.take_sizes()
        assert end.bytes > sealed_size(33_000)


def test_unchanged_arrays_count_as_saved_bytes(exchange: Exchange) -> None:
    frozen = os.urandom(40_000)
    for number, head in enumerate([os.urandom(20_000), os.urandom(20_000), b"small"]):
        exchange.transport.take_sizes()
        ids = exchange.send(frozen[:-1] + frozen[-1:], head, group=str(number))
        written = exchange.transport.take_sizes()
        for owner in exchange.owners.values():
            owner.answer(b"done")
        exchange.collect(ids)
        assert sum(sent.bytes for sent in exchange.sent() if sent.round == str(number)) == written
    saved = [sent.bytes_saved for sent in exchange.sent()]
    whole, parts = sealed_size(PART), 4
    assert saved == [0, 6 * whole, parts * whole, 6 * whole, parts * whole, parts * whole]


def test_small_message_costs_only_its_envelopes(exchange: Exchange) -> None:
    (message_id,) = exchange.send(b"small", to=[DO1])
    request = exchange.transport.take_sizes()
    exchange.owners[DO1].answer(b"small, too")
    response = exchange.owners[DO1].transport.take_sizes()
    exchange.collect([message_id])
    (sent,), (end,) = exchange.sent(), exchange.ended()
    assert [sent.bytes, sent.bytes_saved, end.bytes] == [request, 0, response]


def test_round_trip_time_is_split_into_phases(exchange: Exchange) -> None:
    gate = exchange.owners[DO1].transport.gate
    gate.clear()
    (message_id,) = exchange.send(b"work", to=[DO1])
    exchange.clock.advance(100)
    gate.set()
    exchange.owners[DO1].answer(b"done", download=8.0, wait=1.0, open=2.0, run=30.0, seal=4.0)
    exchange.collect([message_id])
    (end,) = exchange.ended()
    # Phases that took no time are left out.
    assert end.seconds == {
        "transfer": 55.0,
        "download": 8.0,
        "wait": 1.0,
        "open_request": 2.0,
        "run": 30.0,
        "seal_reply": 4.0,
    }


def test_transfer_time_is_never_negative(exchange: Exchange) -> None:
    (message_id,) = exchange.send(b"work", to=[DO1])
    exchange.owners[DO1].answer(b"done", run=1e9)
    exchange.collect([message_id])
    (end,) = exchange.ended()
    assert end.seconds.get("transfer", 0.0) == 0.0
    assert end.seconds["run"] == 1e9


def test_event_has_kind_round_outcome_and_deadline(exchange: Exchange) -> None:
    start = exchange.clock.now()
    ids = exchange.send(b"work", to=[DO1], type="evaluate", group="12")
    ids += exchange.send(b"work", to=[DO1], type="train", group="", round="4")
    for _ in ids:
        exchange.owners[DO1].answer(b"done")
    exchange.clock.advance(90)
    exchange.collect(ids)
    # Other threads read the replies, so any of the two can end first.
    first, second = sorted(exchange.ended(), key=lambda end: ids.index(end.message))
    assert (first.kind, first.round, first.outcome, first.replayed) == ("evaluate", "12", "answered", False)
    assert (second.kind, second.round) == ("train", "4")
    assert [(sent.kind, sent.round) for sent in exchange.sent()] == [("evaluate", "12"), ("train", "4")]
    # The second request is later by the resolution of the times, because its data owner runs it second.
    ends = [start + timedelta(seconds=86_400, milliseconds=place) for place in range(2)]
    assert [sent.deadline for sent in exchange.sent()] == [moment(end) for end in ends]


def test_events_belong_to_their_run(exchange: Exchange) -> None:
    for run in (RUN, RUN + 1):
        ids = exchange.send(b"work", to=[DO1], run=run)
        exchange.owners[DO1].answer(b"done")
        exchange.collect(ids)
    assert [len(exchange.ended(run)) for run in (RUN, RUN + 1)] == [1, 1]


def test_uncollected_outcome_is_logged(exchange: Exchange) -> None:
    answered, open_ = exchange.send(b"work")
    exchange.owners[DO1].answer(b"done")
    exchange.caller.wait([answered], timeout=PATIENCE)
    exchange.caller.close()
    assert {end.message: end.reason or end.outcome for end in exchange.ended()} == {
        answered: "answered",
        open_: Reason.STOPPED,
    }


# Failures


def test_app_failure_is_logged_with_code_and_costs(exchange: Exchange) -> None:
    ids = exchange.send(os.urandom(45_000))
    exchange.owners[DO1].answer(b"done")
    exchange.owners[DO2].fail(failure(Reason.APP_RAISED, "it raised").spent(run=3.0))
    exchange.collect(ids)
    # A reply with an object is read by another thread, so any of the two can end first.
    assert sorted(exchange.outcomes()) == ["answered", "app-raised"]
    (end,) = (ended for ended in exchange.ended() if ended.reason)
    assert end.text == "it raised"
    assert end.bytes == exchange.owners[DO2].transport.take_sizes(".response")
    assert end.seconds["run"] == 3.0


def test_request_ends_in_the_record_before_it_is_collected(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ones: list[int] = []

    def note(run: int, event: Event) -> None:
        assert isinstance(event, RequestEnded)
        open_ones.append(len(exchange.caller._pending.open([event.message])))

    ids = exchange.send(b"work")
    monkeypatch.setattr(exchange.caller._endings, "_on_event", note)
    exchange.owners[DO1].answer(b"done")
    exchange.caller.give_up(ids[1:], "it is over")
    exchange.collect(ids)

    assert open_ones == [1, 1]


def test_unanswered_request_is_logged(exchange: Exchange) -> None:
    ids = exchange.send(b"work")
    exchange.owners[DO1].answer(b"done")
    exchange.caller.wait(ids[:1], timeout=PATIENCE)
    exchange.clock.advance(86_400)
    exchange.collect(ids)
    assert exchange.outcomes() == ["answered", "no-answer"]
    assert exchange.ended()[1].bytes == 0


def test_unreadable_reply_is_logged(exchange: Exchange) -> None:
    ids = exchange.send(b"work")
    exchange.owners[DO1].answer(os.urandom(45_000))
    exchange.owners[DO2].answer_damaged(exchange.network, os.urandom(45_000))
    exchange.collect(ids)
    # Replies with an object are read by other threads, so any of the two can end first.
    assert sorted(exchange.outcomes()) == ["answered", "integrity"]


@pytest.mark.parametrize("full", [".blob", ".request"])
def test_unwritten_message_is_logged(exchange: Exchange, full: str) -> None:
    exchange.transport.full = full
    ids = exchange.send(os.urandom(45_000))
    exchange.collect(ids)
    exchange.transport.full = ""
    assert exchange.outcomes() == ["storage-full", "storage-full"]
    assert [end.bytes for end in exchange.ended()] == [0, 0]
    # Only a request that was sealed is sent.
    assert len(exchange.sent()) == (0 if full == ".blob" else 2)


def test_request_that_cannot_be_recorded_is_told(exchange: Exchange) -> None:
    database = exchange.ledgers[0]._database._connection
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    # More than fits into the free space of the pages.
    ids = [each for _ in range(200) for each in exchange.send(b"work", to=[DO1])]
    eventually(lambda: "full" in exchange.troubles[DO1], "the trouble")
    database.execute("PRAGMA max_page_count = 1000000")
    eventually(lambda: exchange.troubles[DO1] == "", "the end of the trouble")
    for _ in ids:
        exchange.owners[DO1].answer(b"done")
    exchange.collect(ids)
    assert exchange.outcomes() == ["answered"] * len(ids)


def test_undecodable_reply_is_logged_as_invalid(exchange: Exchange) -> None:
    def refuse(buffers: Sequence[bytes]) -> list[bytes]:
        raise MalformedError("it means nothing")

    exchange.caller._receiver._decode = refuse
    ids = exchange.send(b"work", to=[DO1])
    exchange.owners[DO1].answer(b"done")
    [outcome] = exchange.collect(ids)
    assert outcome.failure is not None
    assert outcome.answer is None
    assert exchange.outcomes() == ["invalid"]


def test_expired_reply_reports_its_missing_objects(exchange: Exchange) -> None:
    ids = exchange.send(b"work", to=[DO1], lifetime=600.0)
    owner = exchange.owners[DO1]
    request = owner.responder.next()
    assert request is not None
    body = make_body([os.urandom(45_000)], owner.folder, run=RUN, readers=[DS])
    del exchange.network.files[NAMES.object(DO1, body.manifest.objects[0].id)]
    assert owner.responder.answer(request, body)
    [pending] = exchange.caller._pending.open()
    deadline = time.monotonic() + PATIENCE
    total = len(body.manifest.objects)
    progress = f"{total - 1} of {total} objects"
    while not (pending.arrival and pending.arrival.progress == progress) and time.monotonic() < deadline:
        exchange.caller._scanner.wake()
        time.sleep(0.01)
    exchange.clock.advance(601)
    [outcome] = exchange.collect(ids)
    assert outcome.failure is not None
    assert outcome.failure.code == "no-answer"
    assert f"{progress} of the reply have arrived" in outcome.failure.text
