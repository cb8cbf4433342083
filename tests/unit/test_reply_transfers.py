"""The objects that the heartbeat of an aggregator names are written again only if they belong to a reply to it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.answers import Answers
from syft_flwr._messaging.answering.reply_transfers import ReplyTransfers
from syft_flwr._messaging.attempts import GIVEN_UP_AFTER
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.objects import make_body
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import MAX_MISSING
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.peers import Peers
from syft_flwr._store.states import Received
from syft_flwr.errors import NotFoundError
from syft_flwr.names import MAX_ATTEMPTS, AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Properties
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

_DS, _FORMER, _DO = "ds@x.org", "former@x.org", "do@y.org"
_NAMES = AppNames("again")
_BUFFER = bytes(range(256)) * 200


class _Owner:
    """A data owner with an open reply to its aggregator, and one to the aggregator that it served before."""

    def __init__(self, folder: Path) -> None:
        class _Synced(MemoryTransport):
            @property
            def properties(self) -> Properties:
                return replace(super().properties, links=folder / "links")

        self.clock = FakeClock()
        self.network = MemoryNetwork(part_size=20_000)
        self.trust = Trust(_Synced(self.network, _DO), _DO, Identity.generate(), Peers(folder / "peers.db"), self.clock)
        self.endpoint = Endpoint(self.trust._transport, self.trust, _NAMES, encryption=True, clock=self.clock)
        self.ledger = Ledger(folder / "ledger.db")
        self.answers = Answers(self.endpoint, self.ledger)
        self.transfers = ReplyTransfers(self.endpoint, self.answers, _DS)
        self.objects = {reader: self.reply(number, reader) for number, reader in enumerate((_DS, _FORMER))}
        #: Of a reply that was never recorded, and of a request of this participant as an aggregator.
        self.orphans = make_body([_BUFFER], self.endpoint.mine, run=7, readers=[_DS]).manifest.object_ids
        stored = self.endpoint.mine.write([_BUFFER], run=7, readers=[_FORMER], shared=True)
        self.requests = [ref.id for ref in stored.objects]

    def reply(self, number: int, reader: str) -> list[str]:
        now, message_id = self.clock.now(), f"{number:032x}"
        body = make_body([_BUFFER], self.endpoint.mine, run=7, readers=[reader])
        row = ReceivedRow(
            id=message_id,
            run=7,
            sender=reader,
            type="train",
            round="1",
            digest="0" * 64,
            expires=now + timedelta(days=1),
            received=now,
            state=Received.RECEIVED,
        )
        assert self.ledger.add(row)
        assert self.ledger.answer(message_id, response=b"sealed", objects=body.manifest.object_ids, context=None)
        assert self.answers.put(message_id, reader, b"sealed")
        return body.manifest.object_ids

    def hear(self, missing: list[str], *, seconds: float = 0) -> None:
        self.clock.advance(seconds)
        self.transfers.hear(Heartbeat("aggregator", _DS, _NAMES.app, 1, 1, self.clock.now(), missing=tuple(missing)))

    def attempts(self) -> list[str]:
        parsed = [_NAMES.parse_object(_DO, name) for name in self.network.files]
        return [found.id for found in parsed if found and found.attempt]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[_Owner]:
    owner = _Owner(tmp_path)
    yield owner
    owner.ledger.close()
    owner.trust.close()


@pytest.mark.parametrize("kind", ["of another aggregator", "of no reply", "of a request", "of nothing"])
def test_object_that_the_aggregator_may_not_read_stays(owner: _Owner, kind: str, logged: list[str]) -> None:
    named = {
        "of another aggregator": owner.objects[_FORMER],
        "of no reply": owner.orphans,
        "of a request": owner.requests,
        "of nothing": ["f" * 32],
    }[kind]
    before = dict(owner.network.files)
    for _ in range(20):
        owner.hear(named, seconds=GIVEN_UP_AFTER)

    assert owner.network.files == before
    assert logged == []
    # A genuine one in the same list is written.
    genuine = owner.objects[_DS][0]
    owner.hear([*named, genuine])
    owner.hear([*named, genuine], seconds=GIVEN_UP_AFTER)
    assert owner.attempts() == [genuine]


def test_false_list_causes_few_writes(owner: _Owner) -> None:
    first = owner.objects[_DS][0]
    repeated = [first] * MAX_MISSING
    for _ in range(24 * 60):
        owner.hear(repeated, seconds=60)

    assert 0 < len(owner.attempts()) < MAX_ATTEMPTS


def test_vanished_objects_come_back_for_their_own_reader(owner: _Owner) -> None:
    for reader, objects in owner.objects.items():
        for object_id in objects:
            name = _NAMES.object(_DO, object_id)
            owner.trust._transport.delete(name)
            owner.answers.put_back_objects(_DS)
            other = _FORMER if reader == _DS else _DS
            assert owner.network.transport(reader).stat(name).size
            with pytest.raises(NotFoundError):
                owner.network.transport(other).stat(name)
