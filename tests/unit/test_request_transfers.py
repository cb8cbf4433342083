"""The aggregator waits for a request that is on its way, and finds its own objects in the heartbeat of a data owner."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.awaited import AwaitedOwners
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.pending import Ask, Pending, Stage
from syft_flwr._messaging.asking.request_transfers import RequestTransfers
from syft_flwr._messaging.attempts import GIVEN_UP_AFTER
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.object_transfers import SLOWEST_LINK
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_MISSING
from syft_flwr._store.peers import Peers
from syft_flwr.names import AppNames
from syft_flwr.runs.costs import MessageCost
from syft_flwr.runs.events import Event, RequestProgress, Waiting
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
        self.events: list[Event] = []
        self.transfers = RequestTransfers(endpoint, broadcast, [_DO], self._note)
        liveness = Liveness(endpoint, "data-owner")
        self.awaited = AwaitedOwners(endpoint, liveness, self.transfers, (), 120, 120, self._note)
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
            object_bytes=written,
            stage=Stage.SENT,
            account=MessageCost(bytes_written=written),
            sent=now,
        )

    def _note(self, run: int, event: Event) -> None:
        assert run == 7
        self.events.append(event)

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


# Events


def _progress(aggregator: _Aggregator) -> list[tuple[int, int]]:
    assert all(isinstance(event, RequestProgress) for event in aggregator.events)
    return [(event.arrived, event.total) for event in aggregator.events if isinstance(event, RequestProgress)]


def test_parts_of_a_request_that_arrive_are_told(aggregator: _Aggregator) -> None:
    first, *others = aggregator.objects
    aggregator.hear(aggregator.beat(missing=(first, *others)))
    aggregator.hear(aggregator.beat(missing=tuple(others)), seconds=5)
    aggregator.hear(aggregator.beat(missing=tuple(others)), seconds=5)
    aggregator.hear(aggregator.beat(), seconds=5)

    total = len(aggregator.objects)
    assert _progress(aggregator) == [(0, total), (1, total), (total, total)]
    started, moved, done = (event for event in aggregator.events if isinstance(event, RequestProgress))
    size = aggregator.pending.object_bytes
    assert (started.bytes, done.bytes, done.total_bytes) == (0, size, size)
    assert 0 < moved.bytes < size


def test_progress_is_told_at_most_once_a_second(aggregator: _Aggregator) -> None:
    aggregator.hear(aggregator.beat(missing=tuple(aggregator.objects)))
    aggregator.hear(aggregator.beat(missing=tuple(aggregator.objects[1:])), seconds=0.9)
    assert len(aggregator.events) == 1
    aggregator.hear(aggregator.beat(missing=tuple(aggregator.objects[1:])), seconds=0.1)
    assert len(aggregator.events) == 2


def test_heartbeat_that_names_nothing_tells_no_progress(aggregator: _Aggregator) -> None:
    aggregator.hear(aggregator.beat())
    aggregator.hear(aggregator.beat(missing=("f" * 32,)), seconds=5)
    aggregator.hear(aggregator.beat(holds=_OTHER, missing=tuple(aggregator.objects)), seconds=5)
    assert aggregator.events == []


def test_full_list_tells_only_what_is_sure(aggregator: _Aggregator) -> None:
    aggregator.pending.objects = [f"{number:032x}" for number in range(1_000)]
    aggregator.pending.object_bytes = 1_000_000
    named = aggregator.pending.objects[100 : 100 + MAX_MISSING]
    aggregator.hear(aggregator.beat(missing=tuple(named)))

    (event,) = aggregator.events
    assert event == RequestProgress(_ID, _DO, 100, 1_000, bytes=100_000, total_bytes=1_000_000)


def test_wait_is_told_soon_and_only_for_a_round(aggregator: _Aggregator) -> None:
    control, asked = aggregator.pending, replace(aggregator.pending, id=_OTHER, round=(7, "train", "", 1))
    control.round = None
    for pending in (control, asked):
        pending.ends = (aggregator.clock.monotonic() + 300, "msg_timeout")
    aggregator.awaited.look_at_wait(7, [control])
    aggregator.awaited.look(7, [control])
    assert aggregator.events == [], "the strategy waits for no control message"

    aggregator.awaited.look_at_wait(7, [control, asked])
    assert [event.limit for event in aggregator.events if isinstance(event, Waiting)] == ["msg_timeout"]

    later = replace(asked, created=asked.created + timedelta(seconds=1))
    aggregator.awaited.look_at_wait(7, [later])
    assert len(aggregator.events) == 1, "at most once a second"
    aggregator.clock.advance(1)
    aggregator.awaited.look_at_wait(7, [later])
    assert len(aggregator.events) == 2


def test_moved_end_of_a_wait_is_told_every_5_seconds(aggregator: _Aggregator) -> None:
    aggregator.pending.round = (7, "train", "", 1)
    for _ in range(12):
        aggregator.pending.ends = (aggregator.clock.monotonic() + 300, "msg_timeout")
        aggregator.awaited.look(7, [aggregator.pending])
        aggregator.clock.advance(1)
    for _ in range(12):
        aggregator.awaited.look(7, [aggregator.pending])
        aggregator.clock.advance(1)

    told = [event.until[14:19] for event in aggregator.events if isinstance(event, Waiting)]
    assert told == ["05:00", "05:05", "05:10", "05:11"], "the last one is that of the last move"
