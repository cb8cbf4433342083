"""``PutBack`` decides how often and when a missing file is written again."""

from syft_flwr._messaging.put_back import MOST_TIMES, PutBack
from syft_flwr.testing import FakeClock


def _put_back_until_never(put_back: PutBack, clock: FakeClock) -> list[float]:
    """Put a file back as soon as it is due, and return the pauses before each time."""
    pauses, waited = [], 0.0
    while waited < 3_600:
        if put_back.due("a/file"):
            put_back.done("a/file")
            pauses.append(waited)
            waited = 0.0
        clock.advance(1)
        waited += 1
    return pauses


def test_pauses_grow_up_to_a_minute() -> None:
    clock = FakeClock()
    pauses = _put_back_until_never(PutBack(clock), clock)
    assert pauses[:7] == [0, 3, 6, 12, 24, 48, 60]
    assert set(pauses[7:]) == {60}


def test_after_the_last_time_one_warning_is_logged(logged: list[str]) -> None:
    clock = FakeClock()
    put_back = PutBack(clock)
    assert len(_put_back_until_never(put_back, clock)) == MOST_TIMES
    assert not put_back.due("a/file")
    [line] = [line for line in logged if line.startswith("WARNING")]
    assert line.startswith("WARNING a/file was deleted 21 times")


def test_each_file_has_its_own_count() -> None:
    put_back = PutBack(FakeClock())
    put_back.done("a/file")
    assert not put_back.due("a/file")
    assert put_back.due("another/file")


def test_forgotten_file_starts_from_zero() -> None:
    put_back = PutBack(FakeClock())
    put_back.done("a/file")
    put_back.forget("a/file")
    assert put_back.due("a/file")
