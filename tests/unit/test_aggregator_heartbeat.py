"""The heartbeat of an aggregator lists the withdrawn requests, as the database and the data owners' heartbeats show."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from waiting import eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.aggregator_heartbeat import AggregatorHeartbeat, publish_withdrawals, record_withdrawal
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.wire.limits import MAX_HEARTBEAT, MAX_HELD, MAX_WITHDRAWN
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.peers import Peers
from syft_flwr._store.states import Future
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

_DS = "ds@x.org"
_OWNERS = ("do1@y.org", "do2@z.org")
_NAMES = AppNames("withdraw")


def _id(number: int) -> str:
    return f"{number:032x}"


@dataclass
class _Aggregator:
    """An aggregator with its database, and data owners that only write heartbeats."""

    clock: FakeClock
    transport: SyftBoxTransport
    endpoint: Endpoint
    futures: Futures
    owners: dict[str, Trust]
    sessions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def open(self) -> tuple[AggregatorHeartbeat, Liveness]:
        """Return the part of a new process."""
        liveness = Liveness(self.endpoint, "data-owner")
        return AggregatorHeartbeat(self.endpoint, self.futures, _OWNERS, liveness), liveness

    def publish(self) -> list[str]:
        """Publish in a new process, and return the ids of the list."""
        withdrawals, _ = self.open()
        withdrawals.publish_once()
        return self.listed()

    def listed(self) -> list[str]:
        data = self.transport.get(_NAMES.aggregator_heartbeat(_DS), max_size=MAX_HEARTBEAT)
        identity = self.endpoint.trust.identity.public
        return list(read_heartbeat(data, role="aggregator", email=_DS, app=_NAMES.app, identity=identity).withdrawn)

    def record(self, ids: range, recipient: str, *, collected: bool) -> None:
        now = self.clock.now()
        rows = [
            FutureRow(_id(i), 7, recipient, "train", "1", "1", "", Future.SENT, now, now + timedelta(hours=1))
            for i in ids
        ]
        self.futures.add(rows)
        if collected:
            record_withdrawal(self.futures, [row.id for row in rows], "by the test")

    def hold(self, owner: str, ids: range, *, running: str = "") -> None:
        now = self.clock.now()
        held = tuple(_id(i) for i in ids)
        heartbeat = Heartbeat("data-owner", owner, _NAMES.app, next(self.sessions), 1, now, running, held)
        data = heartbeat.encode(self.owners[owner].identity)
        path = self.transport._root / _NAMES.heartbeat(owner)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def aggregator(tmp_path: Path) -> Iterator[_Aggregator]:
    clock = FakeClock(patience=20)
    opened = {email: SyftBoxTransport(tmp_path / "box", email) for email in (_DS, *_OWNERS)}
    trusts = {
        email: Trust(transport, email, Identity.generate(), Peers(tmp_path / f"{email}.db"), clock)
        for email, transport in opened.items()
    }
    for email in _OWNERS:
        trusts[email].publish()
    futures = Futures(tmp_path / "futures.db")
    endpoint = Endpoint(opened[_DS], trusts[_DS], _NAMES, encryption=True, clock=clock)
    yield _Aggregator(clock, opened[_DS], endpoint, futures, {email: trusts[email] for email in _OWNERS})
    futures.close()
    for email, transport in opened.items():
        trusts[email].close()
        transport.close()


def test_latest_collected_requests_are_listed(aggregator: _Aggregator) -> None:
    expected = []
    for number, owner in enumerate(_OWNERS):
        first = 1_000 * number
        aggregator.record(range(first, first + 40), owner, collected=True)
        aggregator.record(range(first + 500, first + 510), owner, collected=False)
        expected += [_id(i) for i in range(first, first + 40)]
    assert aggregator.publish() == expected


def test_held_collected_requests_are_listed(aggregator: _Aggregator) -> None:
    owner = _OWNERS[0]
    aggregator.record(range(10), owner, collected=True)
    aggregator.record(range(100, 400), owner, collected=True)
    aggregator.record(range(500, 510), owner, collected=False)
    aggregator.hold(owner, range(3), running=_id(3))
    assert {_id(i) for i in range(4)} <= set(aggregator.publish())
    aggregator.hold(owner, range(500, 505))
    assert not {_id(i) for i in range(500, 505)} & set(aggregator.publish())
    aggregator.hold(owner, range(900, 902))
    assert not {_id(900), _id(901)} & set(aggregator.publish())


def test_one_data_owner_cannot_fill_the_list(aggregator: _Aggregator) -> None:
    greedy, modest = _OWNERS
    aggregator.record(range(10_000, 10_000 + MAX_HELD), greedy, collected=True)
    aggregator.hold(greedy, range(10_000, 10_000 + MAX_HELD))
    aggregator.record(range(20), modest, collected=True)
    aggregator.hold(modest, range(20))
    listed = aggregator.publish()
    assert len(listed) == MAX_WITHDRAWN
    assert {_id(i) for i in range(20)} <= set(listed)


def test_list_for_many_data_owners_is_short(aggregator: _Aggregator) -> None:
    owners = [f"do{number}@y.org" for number in range(40)]
    for start in range(15):
        for number, owner in enumerate(owners):
            aggregator.record(range(100 * number + start, 100 * number + start + 1), owner, collected=True)
    liveness = Liveness(aggregator.endpoint, "data-owner")
    AggregatorHeartbeat(aggregator.endpoint, aggregator.futures, owners, liveness).publish_once()
    listed = aggregator.listed()
    assert len(listed) <= 512
    assert {int(message_id, 16) // 100 for message_id in listed} == set(range(40))


def test_new_process_publishes_the_same_list(aggregator: _Aggregator) -> None:
    aggregator.record(range(100), _OWNERS[0], collected=True)
    aggregator.hold(_OWNERS[0], range(7))
    first = aggregator.publish()
    assert aggregator.publish() == first
    publish_withdrawals(aggregator.endpoint, aggregator.futures)
    assert aggregator.listed() == first


def test_thread_publishes_after_a_change(aggregator: _Aggregator) -> None:
    withdrawals, _ = aggregator.open()
    withdrawals.start()
    assert aggregator.listed() == []
    aggregator.record(range(5), _OWNERS[0], collected=True)
    withdrawals.note_change()
    eventually(lambda: aggregator.listed() == [_id(i) for i in range(5)], "the list")
    withdrawals.close()


def test_close_publishes_at_once_and_leaves_the_file(aggregator: _Aggregator) -> None:
    withdrawals, _ = aggregator.open()
    withdrawals.start()
    aggregator.record(range(5), _OWNERS[0], collected=True)
    withdrawals.close()
    assert aggregator.listed() == [_id(i) for i in range(5)]


def test_process_without_a_run_publishes_nothing(aggregator: _Aggregator) -> None:
    withdrawals, _ = aggregator.open()
    withdrawals.close()
    assert list(aggregator.transport.list(_NAMES.status(_DS))) == []
