"""The heartbeats of a data owner follow msg_timeout of the aggregator, so a short one gives up no living data owner."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, passing_time, reason_of
from faultkit.storage import Storage
from waiting import PATIENCE, eventually

OWNER, OTHER = OWNERS


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    """Return a federation with the shortest ``msg_timeout``, in which the first data owner stays after a run."""
    options = {AGGREGATOR: {"msg_timeout": 20.0}, OWNER: {"keep": True}}
    with Federation(tmp_path / "homes", storage, clock=StillClock(), options=options) as federation:
        yield federation


def test_training_of_40_s_passes_a_msg_timeout_of_20_s(federation: Federation) -> None:
    federation.start()
    with federation.asking("answer_at_the_gate", timeout=None) as replies:
        for email in OWNERS:
            eventually(lambda email=email: federation[email].journal.calls, f"the call of the app of {email}")
        for _ in range(8):
            federation.clock.advance(5)
            for email in OWNERS:
                federation.wait_for_heartbeat(email)
        assert not replies.done()
        for email in OWNERS:
            federation[email].journal.open_gate()
        assert [answer_of(reply)["messages"] for reply in replies.result(PATIENCE)] == [1, 1]


def test_dead_data_owner_is_given_up_after_20_s(federation: Federation) -> None:
    federation.introduce()
    federation[OWNER].start()
    federation.begin_run()
    with federation.asking("answer_at_the_gate", timeout=None) as replies:
        eventually(lambda: federation[OWNER].journal.calls, "the call of the app")
        for _ in range(5):
            federation.clock.advance(5)
            federation.wait_for_heartbeat(OWNER)
        federation[OWNER].journal.open_gate()
        living, dead = replies.result(PATIENCE)
    assert answer_of(living)
    assert reason_of(dead).startswith(f"{OTHER}: no-answer: ")
    assert "20 s" in reason_of(dead)


def test_restarted_data_owner_keeps_the_interval(federation: Federation) -> None:
    federation[OWNER].start()
    federation.begin_run()
    federation.ask("answer", OWNER)
    with passing_time(federation.clock, after=0):
        federation[OWNER].end()
        federation[OWNER].join()
    with federation.asking("answer_at_the_gate", OWNER, timeout=None) as replies:
        federation[OWNER].start()
        eventually(lambda: len(federation[OWNER].journal.calls) == 2, "the call of the app")
        for _ in range(8):
            federation.clock.advance(5)
            federation.wait_for_heartbeat(OWNER)
        federation[OWNER].journal.open_gate()
        (reply,) = replies.result(PATIENCE)
    assert answer_of(reply)
