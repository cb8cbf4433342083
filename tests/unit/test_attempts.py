"""A given-up object is written again: one at a time at first, after growing pauses, and not without end."""

from collections.abc import Mapping
from itertools import pairwise

from syft_flwr._messaging.attempts import GIVEN_UP_AFTER, Attempts
from syft_flwr.names import MAX_ATTEMPTS
from syft_flwr.testing import FakeClock

_PEER, _LIAR = "do@y.org", "liar@z.org"
_IDS = [f"{number:032x}" for number in range(12)]


def _write(
    attempts: Attempts, missing: list[str], peer: str = _PEER, others: Mapping[str, list[str]] = {}
) -> list[str]:
    """Write the objects that are due for a peer, as a caller does; return them."""
    due = attempts.due(peer, missing, {**others, peer: missing})
    for object_id in due:
        attempts.done(peer, object_id)
    return due


def test_first_attempt_is_alone() -> None:
    assert Attempts(FakeClock()).due(_PEER, _IDS, {_PEER: _IDS}) == _IDS[:1]


def test_each_arrival_allows_one_more_at_a_time() -> None:
    attempts, missing, counts = Attempts(FakeClock()), list(_IDS), []
    while missing:
        written = _write(attempts, missing)
        counts.append(len(written))
        missing = [object_id for object_id in missing if object_id not in written]
    assert counts == [1, 2, 4, 4, 1]


def test_no_second_attempt_while_the_first_is_under_way() -> None:
    clock = FakeClock()
    attempts = Attempts(clock)
    assert _write(attempts, _IDS[:1]) == _IDS[:1]
    clock.advance(GIVEN_UP_AFTER - 1)
    assert _write(attempts, _IDS) == []


def test_failed_attempt_is_followed_by_one_at_a_time() -> None:
    clock = FakeClock()
    attempts = Attempts(clock)
    missing = list(_IDS)
    for _ in range(2):
        written = _write(attempts, missing)
        missing = [object_id for object_id in missing if object_id not in written]
    assert len(_write(attempts, missing)) == 4
    clock.advance(GIVEN_UP_AFTER)
    # One of the four arrives.
    assert len(_write(attempts, missing[1:])) == 1


def test_pauses_between_attempts_grow_to_a_last_attempt() -> None:
    clock = FakeClock()
    attempts = Attempts(clock)
    times: list[float] = []
    for _ in range(20_000):
        if _write(attempts, _IDS[:1]):
            times.append(clock.monotonic())
        clock.advance(10)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == [GIVEN_UP_AFTER * 2**number for number in range(1, MAX_ATTEMPTS - 1)]


def test_arrived_object_is_forgotten() -> None:
    attempts = Attempts(FakeClock())
    _write(attempts, _IDS[:1])
    assert list(attempts.objects) == _IDS[:1]
    assert attempts.due(_PEER, [], {_PEER: []}) == []
    assert list(attempts.objects) == []


def test_peer_that_names_objects_falsely_waits_for_others() -> None:
    clock = FakeClock()
    attempts = Attempts(clock)
    false, true = _IDS[:8], _IDS[8:]
    assert _write(attempts, false, _LIAR) == false[:1]
    clock.advance(GIVEN_UP_AFTER)
    # The honest peer waits since before this moment, and the liar is asked first.
    assert _write(attempts, true, others={_LIAR: false}) == true[:1]
    written = []
    while true:
        clock.advance(10)
        true = true[1:]
        assert _write(attempts, false, _LIAR, {_PEER: true}) == [] or not true
        written += _write(attempts, true, others={_LIAR: false})
    assert written == _IDS[9:]


def test_peer_that_is_gone_holds_back_no_other() -> None:
    clock = FakeClock()
    attempts = Attempts(clock)
    _write(attempts, _IDS[:2])
    clock.advance(GIVEN_UP_AFTER)
    gone = {"gone@z.org": _IDS[4:]}
    assert attempts.due("gone@z.org", _IDS[4:], {_PEER: _IDS[:2], **gone}) == _IDS[4:5]
    assert _write(attempts, _IDS[:2], others=gone) == []
    clock.advance(10 * GIVEN_UP_AFTER)
    assert _write(attempts, _IDS[:2], others=gone) != []


def test_object_that_another_peer_misses_is_under_way() -> None:
    attempts = Attempts(FakeClock())
    everyone = {f"do{number}@y.org": _IDS[:1] for number in range(5)}
    assert [_write(attempts, _IDS[:1], peer, everyone) for peer in everyone] == [_IDS[:1], [], [], [], []]
