"""The poller of the Drive transport reports a first poll that ends its thread, and survives all other errors."""

import random
import threading
from collections.abc import Callable

import pytest
from waiting import eventually

from syft_flwr.clock import SystemClock
from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.streams.poller import Poller


def poller(poll: Callable[[], bool]) -> Poller:
    return Poller("poller-test", poll, lambda: True, 0.01, SystemClock())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_start_fails_if_the_thread_ends_in_the_first_poll(kind: type[BaseException]) -> None:
    def poll() -> bool:
        raise kind("the cause")

    polls = poller(poll)
    with pytest.raises(TransportError, match=f"poller-test: .* ended with {kind.__name__}: the cause"):
        polls.start()
    polls.close()
    assert "poller-test" not in {thread.name for thread in threading.enumerate()}


def test_endless_recursion_does_not_end_the_polls(logged: list[str]) -> None:
    polled: list[int] = []

    def forever() -> bool:
        return forever()

    def poll() -> bool:
        polled.append(1)
        return len(polled) > 1 or forever()

    polls = poller(poll)
    polls.start()
    try:
        eventually(lambda: len(polled) > 1, "the next poll")
    finally:
        polls.close()
    assert any("RecursionError" in line for line in logged)


def test_polls_draw_no_global_random_number() -> None:
    polled: list[int] = []

    def poll() -> bool:
        polled.append(1)
        return True

    before, polls = random.getstate(), poller(poll)
    polls.start()
    try:
        eventually(lambda: len(polled) > 2, "three polls")
    finally:
        polls.close()
    assert random.getstate() == before
