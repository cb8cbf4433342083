"""A given-up object is written again: one at a time at first, after growing pauses, and not without end."""

from itertools import pairwise

from syft_flwr._messaging.attempts import GIVEN_UP_AFTER, Attempts
from syft_flwr.names import MAX_ATTEMPTS
from syft_flwr.testing import FakeClock

_IDS = [f"{number:032x}" for number in range(12)]


def _write(attempts: Attempts, missing: list[str]) -> list[str]:
    """Write the objects that are due, as a caller does; return them."""
    due = attempts.due(missing, missing)
    for object_id in due:
        attempts.done(object_id)
    return due


def test_first_attempt_is_alone() -> None:
    assert Attempts(FakeClock()).due(_IDS, _IDS) == _IDS[:1]


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
    assert attempts.due([], []) == []
    assert list(attempts.objects) == []
