"""A given-up object is written again: one at a time at first, after growing pauses, and not without end."""

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest

from syft_flwr._messaging.attempts import GIVEN_UP_AFTER, Attempts
from syft_flwr.names import MAX_ATTEMPTS
from syft_flwr.testing import FakeClock

_PEER = "do@y.org"
_IDS = [f"{number:032x}" for number in range(12)]


def _write(
    attempts: Attempts, missing: list[str], peer: str = _PEER, others: Mapping[str, list[str]] = {}
) -> list[str]:
    """Write the objects that are due for a peer, as a caller does; return them."""
    written = []
    for chosen, object_id in attempts.due({peer: missing}, {**others, peer: missing}):
        attempts.done(chosen, object_id)
        written.append(object_id)
    return written


def test_first_attempt_is_alone() -> None:
    assert _write(Attempts(FakeClock()), _IDS) == _IDS[:1]


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
    assert _write(attempts, []) == []
    assert list(attempts.objects) == []


def test_object_that_another_peer_misses_is_under_way() -> None:
    attempts = Attempts(FakeClock())
    everyone = {f"do{number}@y.org": _IDS[:1] for number in range(5)}
    assert [_write(attempts, _IDS[:1], peer, everyone) for peer in everyone] == [_IDS[:1], [], [], [], []]


class _Crowd:
    """An honest peer, whose attempts arrive, among liars that name objects as missing which they have."""

    def __init__(self, liars: int, *, relents: bool) -> None:
        self.clock = FakeClock()
        self.attempts = Attempts(self.clock)
        self.missing = {f"liar{n}@z.org": [f"{n:016x}{i:016x}" for i in range(64)] for n in range(liars)}
        #: Whether a liar says after some time that its object has arrived, so that the next attempt comes sooner.
        self.relents = relents
        self.began: dict[str, float] = {}
        self.written: list[str] = []

    def wait_for_honest(self, objects: list[str]) -> float:
        """Return the seconds until all these objects of the honest peer are written."""
        start = self.clock.monotonic()
        self.missing[_PEER] = list(objects)
        while self.missing[_PEER]:
            self._pass()
            self.clock.advance(10)
            assert self.clock.monotonic() - start < 100_000
        return self.clock.monotonic() - start

    def lie(self, passes: int) -> None:
        for _ in range(passes):
            self._pass()
            self.clock.advance(10)

    def _pass(self) -> None:
        now = self.clock.monotonic()
        for peer, object_id in self.attempts.due(self.missing, self.missing):
            self.attempts.done(peer, object_id)
            self.written.append(peer)
            self.began[object_id] = now
        late = {each for each, began in self.began.items() if now - began >= 20}
        for peer, objects in self.missing.items():
            if peer == _PEER or self.relents:
                objects[:] = [each for each in objects if each not in late]


@pytest.mark.parametrize("relents", [False, True])
@pytest.mark.parametrize("liars", [0, 1, 20, 63])
def test_liars_delay_an_attempt_by_one_turn_each(liars: int, relents: bool) -> None:
    crowd = _Crowd(liars, relents=relents)
    crowd.lie(30)
    # Four begin within 30 s, so a turn of all takes that long for each four of them; and the own attempt takes 20 s.
    turn = 30 * math.ceil((liars + 1) / 4) + 30
    for number in range(8):
        assert crowd.wait_for_honest([f"{number + 1:032x}"]) <= turn
        crowd.lie(number)


def test_attempts_of_a_liar_become_rare() -> None:
    crowd = _Crowd(1, relents=False)
    counts = []
    for _ in range(4):
        before = len(crowd.written)
        crowd.lie(360)
        counts.append(len(crowd.written) - before)

    # Within an hour each, at first and later.
    assert counts[0] == 5
    assert all(count <= 1 for count in counts[1:])


def test_peers_take_turns() -> None:
    crowd = _Crowd(10, relents=False)
    crowd.lie(9)

    assert sorted(crowd.written) == sorted(crowd.missing)


def test_work_of_a_moment_is_bounded() -> None:
    crowd = _Crowd(63, relents=False)
    crowd.lie(1)
    assert len(crowd.written) == 4
    crowd.lie(2)
    assert len(crowd.written) == 4
    crowd.lie(1)
    assert len(crowd.written) == 8
