"""Shows that wall clocks may be wrong, or be set during an exchange: the two sides need not agree on the time.

Only the expiry of a request is compared between two machines, with a tolerance of five minutes. All waits use monotonic
clocks.
"""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, reason_of
from faultkit.storage import MemoryStorage
from flwr.app import Message
from waiting import eventually

OWNER = OWNERS[0]
HOUR = 3_600.0
#: Seconds by which two clocks may differ.
TOLERANCE = 300.0


class WrongClock:
    """The clock of one machine. Time passes as on the others, but the wall clock is ``ahead`` seconds ahead."""

    def __init__(self, shared: StillClock) -> None:
        self.shared = shared
        self.ahead = 0.0

    def now(self) -> datetime:
        return self.shared.now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return self.shared.monotonic()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        self.shared.wait_until(condition, deadline)


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, [OWNER], clock=StillClock()) as federation:
        for participant in (federation.participant, federation[OWNER].participant):
            participant.clock = WrongClock(cast("StillClock", federation.clock))
        federation.start()
        federation.assert_served()
        yield federation
        for email in (AGGREGATOR, OWNER):
            # With a wrong clock, the stop would be refused.
            clock_of(federation, email).ahead = 0.0


def clock_of(federation: Federation, email: str) -> WrongClock:
    participant = federation.participant if email == AGGREGATOR else federation[email].participant
    return cast("WrongClock", participant.clock)


def push(federation: Federation, seconds: float) -> str:
    """Send a message with a lifetime of ``seconds``, and return its id."""
    assert federation.grid
    (message,) = federation.messages()
    message.metadata.ttl = seconds
    (message_id,) = federation.grid.push_messages([message])
    return message_id


@pytest.mark.parametrize("jump", [5 * HOUR, -5 * HOUR, 400 * HOUR, -400 * HOUR])
@pytest.mark.parametrize("side", [AGGREGATOR, OWNER])
def test_wall_clock_jump_during_app_changes_nothing(federation: Federation, side: str, jump: float) -> None:
    (message_id,) = federation.push("answer_at_the_gate")
    federation[OWNER].journal.wait_for_call(message_id)
    clock_of(federation, side).ahead = jump
    federation[OWNER].journal.open_gate()
    assert answer_of(federation.pull([message_id])[0])["messages"] == 2


@pytest.mark.parametrize(("ahead", "reason"), [(13 * HOUR, "it expired at"), (-HOUR, "its times cannot be right")])
def test_request_is_answered_after_clock_correction(
    federation: Federation, logged: list[str], ahead: float, reason: str
) -> None:
    clock_of(federation, OWNER).ahead = ahead
    message_id = push(federation, 12 * HOUR - 1)
    name = federation.request_name(OWNER, message_id)
    line = eventually(lambda: [line for line in logged if name in line], "a line about the request")[0]
    assert reason in line
    federation[OWNER].spy.wait_for_scans()
    assert len([line for line in logged if name in line]) == 1
    assert federation[OWNER].journal.calls_of(message_id) == []
    clock_of(federation, OWNER).ahead = 0.0
    assert answer_of(federation.pull([message_id])[0])["messages"] == 2


@pytest.mark.parametrize("ahead", [TOLERANCE, -TOLERANCE])
def test_clocks_may_differ_by_five_minutes(federation: Federation, ahead: float) -> None:
    # The clock of this test stands still, and the second request is later than the first by the resolution of the times.
    clock_of(federation, OWNER).ahead = ahead + 0.001 if ahead < 0 else ahead
    message_id = push(federation, 1.0)
    assert answer_of(federation.pull([message_id])[0])["messages"] == 2


def test_fast_owner_clock_expires_a_short_message(federation: Federation, logged: list[str]) -> None:
    clock_of(federation, OWNER).ahead = TOLERANCE + 2.0
    message_id = push(federation, 1.0)
    name = federation.request_name(OWNER, message_id)
    eventually(lambda: [line for line in logged if name in line and "it expired at" in line], "a line about it")
    clock_of(federation, AGGREGATOR).shared.advance(1.0)
    assert "no reply within 1 s" in reason_of(federation.pull([message_id])[0])
    assert federation[OWNER].journal.calls_of(message_id) == []


@pytest.mark.parametrize("jump", [48 * HOUR, -48 * HOUR])
def test_wait_for_reply_ignores_the_wall_clock(federation: Federation, jump: float) -> None:
    with federation.asking("answer_at_the_gate", timeout=600.0) as asked:
        clock = clock_of(federation, AGGREGATOR)
        clock.ahead = jump
        clock.shared.advance(599.0)
        assert not asked.done()
        clock.shared.advance(1.0)
        replies: list[Message] = asked.result()
    federation[OWNER].journal.open_gate()
    assert "no reply within 600 s" in reason_of(replies[0])
