"""A transfer without progress is reported with name, size and time, and a given-up object is written again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from syft_flwr._messaging.attempts import GIVEN_UP_AFTER
from syft_flwr._messaging.object_transfers import SLOWEST_LINK, ObjectTransfers
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_MISSING
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock

_ME, _PEER, _OTHER = "ds@x.org", "do@y.org", "do2@z.org"
_NAMES = AppNames("slow")
_IDS = [f"{number:032x}" for number in range(200)]
_SIZE = 2_000_000


def _sized(ids: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(ids, _SIZE)


@dataclass
class _Case:
    """The transfers of one participant, and a record of the objects that were written again."""

    clock: FakeClock = field(default_factory=FakeClock)
    again: list[str] = field(default_factory=list)
    files_vanish: bool = True
    is_busy: bool = False

    def __post_init__(self) -> None:
        self.transfers = ObjectTransfers(_NAMES, _ME, self.clock, self._put_again if self.files_vanish else None)

    def _put_again(self, object_id: str) -> str | None:
        if self.is_busy:
            return None
        self.again.append(object_id)
        return _NAMES.object(_ME, object_id, attempt=1)

    def miss(self, ids: Iterable[str], *, seconds: float = 0, peer: str = _PEER) -> None:
        """Let time pass, then note the objects of a peer that have not arrived here."""
        self.clock.advance(seconds)
        self.transfers.note_theirs({peer: found} if (found := _sized(ids)) else {})

    def hear(self, ids: Iterable[str], *, seconds: float = 0, peer: str = _PEER, hidden: float = 1.0) -> None:
        """Let time pass, then note a heartbeat of a peer that misses our objects."""
        self.clock.advance(seconds)
        self.transfers.note_ours(peer, _sized(ids), hidden=hidden)


@pytest.fixture
def case() -> _Case:
    return _Case()


def _warnings(logged: list[str]) -> list[str]:
    return [line for line in logged if line.startswith("WARNING")]


def test_missing_objects_are_named_after_some_seconds(case: _Case) -> None:
    case.miss(_IDS[:3])
    assert case.transfers.missing() == ()
    case.miss(_IDS[:3], seconds=5)
    assert case.transfers.missing() == tuple(_IDS[:3])
    case.miss(_IDS[2:4], seconds=3)
    assert case.transfers.missing() == (_IDS[2],)
    case.miss([])
    assert case.transfers.missing() == ()


def test_the_longest_missing_objects_are_named_first(case: _Case) -> None:
    case.miss([_IDS[5]])
    case.miss([_IDS[1], _IDS[5]], seconds=10)
    case.miss([_IDS[1], _IDS[5]], seconds=10)
    assert case.transfers.missing() == (_IDS[5], _IDS[1])


def test_named_objects_are_bounded_and_fair_to_each_peer(case: _Case) -> None:
    both = {_PEER: _sized(_IDS[:150]), _OTHER: _sized(_IDS[150:160])}
    case.transfers.note_theirs(both)
    case.clock.advance(10)
    case.transfers.note_theirs(both)
    named = case.transfers.missing()
    assert len(named) == MAX_MISSING
    assert set(_IDS[150:160]) < set(named)


def test_arrival_without_progress_is_a_warning(case: _Case, logged: list[str]) -> None:
    case.miss(_IDS[:3])
    case.miss(_IDS[:3], seconds=59)
    assert _warnings(logged) == []
    case.miss(_IDS[:3], seconds=1)
    [line] = _warnings(logged)
    assert _NAMES.object(_PEER, _IDS[0]) in line
    assert "missing objects: 3 (6.000 MB)" in line
    assert "2030-01-01 00:00:00 UTC" in line


def test_warning_comes_again_after_progress_or_ten_minutes(case: _Case, logged: list[str]) -> None:
    case.miss(_IDS[:3])
    for _ in range(11):
        case.miss(_IDS[:3], seconds=60)
    assert len(_warnings(logged)) == 2
    case.miss(_IDS[1:3])
    case.miss(_IDS[1:3], seconds=60)
    assert len(_warnings(logged)) == 3


def test_progress_prevents_the_warning(case: _Case, logged: list[str]) -> None:
    for first in range(20):
        case.miss(_IDS[first:30], seconds=50)
        case.hear(_IDS[first:30])
    assert _warnings(logged) == []


def test_large_object_has_the_time_of_a_slow_link(case: _Case, logged: list[str]) -> None:
    large = {_PEER: {_IDS[0]: 100 * SLOWEST_LINK}}
    case.transfers.note_theirs(large)
    case.clock.advance(99)
    case.transfers.note_theirs(large)
    assert _warnings(logged) == []
    case.clock.advance(1)
    case.transfers.note_theirs(large)
    assert len(_warnings(logged)) == 1


def test_upload_without_progress_is_a_warning(case: _Case, logged: list[str]) -> None:
    case.hear(_IDS[:2])
    case.hear(_IDS[:2], seconds=60)
    [line] = _warnings(logged)
    assert f"our upload to {_PEER}" in line
    assert _NAMES.object(_ME, _IDS[0]) in line
    assert "missing objects: 2 (4.000 MB)" in line


def test_only_a_heartbeat_shows_that_an_upload_stands_still(case: _Case, logged: list[str]) -> None:
    case.hear(_IDS[:2])
    # The peer is silent: its own objects can still arrive, and ours may have.
    case.miss(_IDS[5:6], seconds=1_000)
    assert _warnings(logged) == []
    assert case.again == []


def test_full_list_hides_progress_and_extends_the_time(case: _Case, logged: list[str]) -> None:
    named = _IDS[:MAX_MISSING]
    case.hear(named, hidden=4)
    case.hear(named, seconds=239, hidden=4)
    assert _warnings(logged) == []
    assert case.again == []
    case.hear(named, seconds=1, hidden=4)
    assert len(_warnings(logged)) == 1
    case.hear(named, seconds=240, hidden=4)
    assert case.again == [_IDS[0]]


def test_given_up_object_is_written_again_and_logged(case: _Case, logged: list[str]) -> None:
    case.hear(_IDS[:3])
    case.hear(_IDS[:3], seconds=GIVEN_UP_AFTER - 1)
    assert case.again == []
    case.hear(_IDS[:3], seconds=1)
    assert case.again == [_IDS[0]]
    assert len([line for line in logged if line.startswith("INFO") and _IDS[0] in line]) == 1


def test_busy_writer_is_asked_again_at_the_next_heartbeat(case: _Case) -> None:
    case.hear(_IDS[:3])
    case.is_busy = True
    case.hear(_IDS[:3], seconds=GIVEN_UP_AFTER)
    case.is_busy = False
    assert case.again == []
    case.hear(_IDS[:3], seconds=1)
    assert case.again == [_IDS[0]]


def test_later_attempts_follow_each_other_while_they_arrive(case: _Case) -> None:
    case.hear(_IDS[:8])
    case.hear(_IDS[:8], seconds=GIVEN_UP_AFTER)
    for _ in range(4):
        case.hear([object_id for object_id in _IDS[:8] if object_id not in case.again], seconds=5)
    assert case.again == _IDS[:8]


def test_first_attempt_that_arrives_ends_the_later_ones(case: _Case) -> None:
    case.hear(_IDS[:8])
    case.hear(_IDS[:8], seconds=GIVEN_UP_AFTER)
    # The link works again: an object arrives that was not written again.
    case.hear(_IDS[:7], seconds=5)
    case.hear(_IDS[1:7], seconds=5)
    assert case.again == _IDS[:1]


def test_object_that_several_peers_miss_is_written_once(case: _Case) -> None:
    for peer in (_PEER, _OTHER):
        case.hear(_IDS[:3], peer=peer)
    case.hear(_IDS[:3], seconds=GIVEN_UP_AFTER)
    case.hear(_IDS[:3], peer=_OTHER)
    assert case.again == [_IDS[0]]


def test_nothing_is_written_again_where_files_cannot_vanish(logged: list[str]) -> None:
    case = _Case(files_vanish=False)
    case.hear(_IDS[:3])
    case.hear(_IDS[:3], seconds=10 * GIVEN_UP_AFTER)
    assert case.again == []
    assert len(_warnings(logged)) == 1


def test_upload_with_progress_is_under_way(case: _Case) -> None:
    case.hear(_IDS[:3])
    assert case.transfers.is_under_way(_PEER, [_IDS[2], _IDS[9]])
    assert not case.transfers.is_under_way(_PEER, [_IDS[9]])
    assert not case.transfers.is_under_way(_OTHER, [_IDS[2]])
    case.clock.advance(2 * HEARTBEAT_INTERVAL + 1)
    assert not case.transfers.is_under_way(_PEER, [_IDS[2]])
    case.hear(_IDS[1:3])
    assert case.transfers.is_under_way(_PEER, [_IDS[2]])
    case.hear([])
    assert not case.transfers.is_under_way(_PEER, [_IDS[2]])
