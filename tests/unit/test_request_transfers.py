"""The aggregator waits for a request that is on its way, and finds its own objects in the heartbeat of a data owner."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.pending import Ask, Pending, Stage
from syft_flwr._messaging.asking.request_transfers import RequestTransfers
from syft_flwr._messaging.attempts import GIVEN_UP_AFTER
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.object_transfers import SLOWEST_LINK
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr._store.peers import Peers
from syft_flwr.names import AppNames
from syft_flwr.runs.costs import MessageCost
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Properties
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("on-the-way")
_ID, _OTHER = "a" * 32, "b" * 32
_BUFFER = bytes(range(256)) * 200


class _Aggregator:
    """The aggregator's transfers, its objects, and one request to a data owner."""

    def __init__(self, folder: Path, *, links: Path | None) -> None:
        class _Synced(MemoryTransport):
            @property
            def properties(self) -> Properties:
                return replace(super().properties, links=links)

        self.clock = FakeClock()
        self.network = MemoryNetwork(part_size=20_000)
        transport = _Synced(self.network, _DS)
        self.trust = Trust(transport, _DS, Identity.generate(), Peers(folder / "peers.db"), self.clock)
        endpoint = Endpoint(transport, self.trust, _NAMES, encryption=True, clock=self.clock)
        broadcast = Broadcast(endpoint.mine)
        body, written = broadcast.make_body([_BUFFER], run=7, readers=[_DO], holder=_ID)
        self.objects = body.manifest.object_ids
        self.transfers = RequestTransfers(endpoint, broadcast, [_DO])
        now = self.clock.monotonic()
        self.pending = Pending(
            id=_ID,
            asked=Ask(_DO, run=7, type="train", group="1", lifetime=86_400, buffers=[]),
            created=self.clock.now(),
            expires=self.clock.now(),
            deadline=now + 86_400,
            seen=now,
            request_name="",
            response_name="",
            objects=self.objects,
            stage=Stage.SENT,
            account=MessageCost(bytes_written=written),
            sent=now,
        )

    def beat(self, *, holds: str = _ID, missing: tuple[str, ...] = ()) -> Heartbeat:
        now = self.clock.now()
        return Heartbeat("data-owner", _DO, _NAMES.app, 1, 1, now, holds, missing=missing)

    def hear(self, heartbeat: Heartbeat, *, seconds: float = 0) -> None:
        self.clock.advance(seconds)
        self.transfers.hear(heartbeat, [self.pending])

    def later_attempts(self) -> list[str]:
        parsed = [_NAMES.parse_object(_DS, name) for name in self.network.files]
        return [found.id for found in parsed if found and found.attempt]


@pytest.fixture
def aggregator(tmp_path: Path) -> Iterator[_Aggregator]:
    aggregator = _Aggregator(tmp_path, links=tmp_path / "links")
    yield aggregator
    aggregator.trust.close()


def test_request_is_under_way_as_long_as_a_slow_link_needs(aggregator: _Aggregator) -> None:
    idle = aggregator.beat(holds=_OTHER)
    aggregator.pending.account.bytes_written = 300 * SLOWEST_LINK
    aggregator.clock.advance(299)
    assert aggregator.transfers.is_under_way(aggregator.pending, idle)
    aggregator.clock.advance(1)
    assert not aggregator.transfers.is_under_way(aggregator.pending, idle)


def test_request_to_an_offline_data_owner_is_not_under_way(aggregator: _Aggregator) -> None:
    assert aggregator.transfers.is_under_way(aggregator.pending, aggregator.beat(holds=_OTHER))
    assert not aggregator.transfers.is_under_way(aggregator.pending, None)


def test_named_request_is_under_way_while_objects_arrive(aggregator: _Aggregator) -> None:
    assert not aggregator.transfers.is_under_way(aggregator.pending, aggregator.beat())
    aggregator.hear(aggregator.beat(missing=tuple(aggregator.objects)))
    aggregator.clock.advance(2 * HEARTBEAT_INTERVAL)
    assert aggregator.transfers.is_under_way(aggregator.pending, aggregator.beat())
    aggregator.clock.advance(1)
    assert not aggregator.transfers.is_under_way(aggregator.pending, aggregator.beat())


def test_answered_request_is_not_under_way(aggregator: _Aggregator) -> None:
    aggregator.pending.stage = Stage.ARRIVING
    assert not aggregator.transfers.is_under_way(aggregator.pending, aggregator.beat(holds=_OTHER))


def test_only_needed_objects_are_written_again(aggregator: _Aggregator, logged: list[str]) -> None:
    foreign, first = "f" * 32, aggregator.objects[0]
    missing = aggregator.beat(missing=(foreign, first))
    aggregator.hear(missing)
    aggregator.hear(missing, seconds=GIVEN_UP_AFTER)
    assert aggregator.later_attempts() == [first]
    assert not any(foreign in line for line in logged)


def test_heartbeat_without_the_request_misses_nothing_of_ours(aggregator: _Aggregator) -> None:
    other = aggregator.beat(holds=_OTHER, missing=tuple(aggregator.objects))
    aggregator.hear(other)
    aggregator.hear(other, seconds=10 * GIVEN_UP_AFTER)
    assert aggregator.later_attempts() == []


def test_no_attempt_where_files_cannot_vanish(tmp_path: Path) -> None:
    aggregator = _Aggregator(tmp_path, links=None)
    missing = aggregator.beat(missing=tuple(aggregator.objects))
    aggregator.hear(missing)
    aggregator.hear(missing, seconds=10 * GIVEN_UP_AFTER)
    assert aggregator.later_attempts() == []
    assert not aggregator.transfers.is_under_way(aggregator.pending, aggregator.beat(holds=_OTHER))
    aggregator.trust.close()
