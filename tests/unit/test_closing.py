"""A data owner closes a request by absence or by statement, as the transport requires."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.closing import ByAbsence, ByStatement
from syft_flwr._messaging.answering.open_requests import OpenRequest, OpenRequests
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.peers import Peers
from syft_flwr._store.states import Received
from syft_flwr.clock import SKEW
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("closing")
_ID, _OTHER_ID = "a" * 32, "b" * 32
_HOUR = timedelta(hours=1)


@dataclass
class _Owner:
    """A data owner with one recorded request, and an aggregator that only writes statements."""

    clock: FakeClock
    network: MemoryNetwork
    ledger: Ledger
    closing: ByStatement
    theirs: Trust
    request: OpenRequest

    def state(self, beat: int, *withdrawn: str, session: int = 1) -> None:
        now = self.clock.now()
        statement = Heartbeat("aggregator", _DS, _NAMES.app, session, beat, now, withdrawn=withdrawn)
        data = statement.encode(self.theirs.identity)
        self.network.transport(_DS).put(_NAMES.aggregator_heartbeat(_DS), data, readers=[_DO], replace=True)
        self.closing.look()

    def answer(self) -> None:
        assert self.ledger.answer(_ID, response=b"sealed", objects=(), context=None)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[_Owner]:
    clock, network = FakeClock(), MemoryNetwork()
    trusts = {
        email: Trust(network.transport(email), email, Identity.generate(), Peers(tmp_path / f"{email}.db"), clock)
        for email in (_DS, _DO)
    }
    trusts[_DS].publish()
    ledger = Ledger(tmp_path / "ledger.db")
    now = clock.now()
    ledger.add(ReceivedRow(_ID, 7, _DS, "train", "1", Received.RECEIVED, "0" * 64, now, now + _HOUR))
    name = _NAMES.request(_DO, _DS, _ID)
    request = OpenRequests(clock).add(_ID, _DS, name, expires=now + _HOUR, received=now, taken=True)
    endpoint = Endpoint(network.transport(_DO), trusts[_DO], _NAMES, encryption=True, clock=clock)
    yield _Owner(clock, network, ledger, ByStatement(endpoint, ledger, _DS), trusts[_DS], request)
    ledger.close()
    for trust in trusts.values():
        trust.close()


def test_statement_closes_only_the_listed_requests(owner: _Owner) -> None:
    owner.closing.look()
    assert not owner.closing.is_over(owner.request)
    owner.state(1, _OTHER_ID)
    assert not owner.closing.is_over(owner.request)
    owner.state(2, _OTHER_ID, _ID)
    assert owner.closing.is_over(owner.request)


def test_replayed_statement_reopens_nothing(owner: _Owner) -> None:
    owner.state(2, _ID, session=2)
    owner.state(1, session=2)
    owner.state(9, session=1)
    assert owner.closing.is_over(owner.request)


def test_unanswered_request_closes_with_its_lifetime(owner: _Owner) -> None:
    owner.clock.advance(_HOUR.total_seconds() + SKEW.total_seconds() - 1)
    assert not owner.closing.is_over(owner.request)
    owner.clock.advance(2)
    assert owner.closing.is_over(owner.request)


def test_answered_request_closes_after_31_days(owner: _Owner) -> None:
    owner.answer()
    owner.clock.advance(MAX_LIFETIME.total_seconds() - 1)
    assert not owner.closing.is_over(owner.request)
    owner.clock.advance(2)
    assert owner.closing.is_over(owner.request)


def test_without_vanishing_files_absence_closes(owner: _Owner) -> None:
    closing = ByAbsence(owner.network.transport(_DO))
    owner.network.files[owner.request.name] = (b"sealed", frozenset({"*"}))
    assert not closing.is_over(owner.request)
    del owner.network.files[owner.request.name]
    assert closing.is_over(owner.request)
