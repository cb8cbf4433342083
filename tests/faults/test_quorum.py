"""Shows the settings ``min_replies`` and ``grace``, which close a round early, and ``nodes = online``."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, reason_of
from faultkit.storage import Storage
from waiting import PATIENCE, eventually

from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr.errors import UnavailableError
from syft_flwr.fl_orchestrator.nodes import node_id_of

OWNER, SLOW = OWNERS
GRACE = 60.0


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def federation(tmp_path: Path, storage: Storage, clock: StillClock) -> Iterator[Federation]:
    """Return a federation in which one of two replies is enough."""
    options = {AGGREGATOR: {"min_replies": 0.5, "grace": GRACE}}
    with Federation(tmp_path / "homes", storage, clock=clock, options=options) as federation:
        federation.start()
        yield federation
        federation[SLOW].journal.open_gate()


def test_round_closes_after_min_replies_and_grace(federation: Federation, clock: StillClock, logged: list[str]) -> None:
    federation[OWNER].journal.open_gate()
    with federation.asking("answer_at_the_gate", timeout=86_400) as asked:
        eventually(lambda: len(federation.grid._caller._pending.open()) == 1, "one reply")
        clock.advance(GRACE - 1)
        assert not asked.done()
        clock.advance(1)
        answered, late = asked.result(PATIENCE)
    assert answer_of(answered)["messages"] == 1
    closed = "the round was closed with 1 of 2 replies, after 60 s of grace (min_replies)"
    assert reason_of(late).startswith(f"{SLOW}: late: {closed}")

    # The late reply does not count: the app of the slow data owner continues from its last committed state.
    federation.publish_withdrawals()
    federation[SLOW].spy.wait_for_scans()
    federation[SLOW].journal.open_gate()
    assert [each["messages"] for each in federation.assert_served()] == [2, 1]


def test_replies_within_the_grace_are_all_counted(federation: Federation, clock: StillClock) -> None:
    federation[OWNER].journal.open_gate()
    with federation.asking("answer_at_the_gate", timeout=86_400) as asked:
        eventually(lambda: len(federation.grid._caller._pending.open()) == 1, "one reply")
        clock.advance(GRACE / 2)
        federation[SLOW].journal.open_gate()
        assert [answer_of(reply)["messages"] for reply in asked.result(PATIENCE)] == [1, 1]


def test_error_does_not_count_for_min_replies(federation: Federation, clock: StillClock) -> None:
    with federation.asking("raise_error", OWNER, timeout=86_400) as failing:
        failing.result(PATIENCE)
    messages = [*federation.messages("raise_error", OWNER), *federation.messages("answer_at_the_gate", SLOW)]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(federation.grid.send_and_receive, messages, timeout=86_400)
        eventually(lambda: len(federation.grid._caller._pending.open()) == 1, "one error")
        clock.advance(10 * GRACE)
        assert not asked.done()
        federation[SLOW].journal.open_gate()
        failed, answered = asked.result(PATIENCE)
    assert "app-raised" in reason_of(failed)
    assert answer_of(answered)["messages"] == 1


def test_messages_of_parallel_threads_are_one_round(federation: Federation, clock: StillClock) -> None:
    federation[OWNER].journal.open_gate()
    with ThreadPoolExecutor(2) as pool:
        asked = {}
        for email in OWNERS:
            # The legacy API names the round.
            messages = federation.messages("answer_at_the_gate", email, group="1")
            asked[email] = pool.submit(federation.exchange, messages, timeout=86_400)
        assert answer_of(asked[OWNER].result(PATIENCE)[0])["messages"] == 1
        eventually(lambda: len(federation.grid._caller._pending.open()) == 1, "only the slow request to be open")
        assert not asked[SLOW].done()
        clock.advance(GRACE)
        assert "late" in reason_of(asked[SLOW].result(PATIENCE)[0])


def test_round_waits_for_all_by_default(tmp_path: Path, storage: Storage, clock: StillClock) -> None:
    with Federation(tmp_path / "homes", storage, clock=clock) as federation:
        federation.start()
        federation[OWNER].journal.open_gate()
        with federation.asking("answer_at_the_gate", timeout=86_400) as asked:
            eventually(lambda: len(federation.grid._caller._pending.open()) == 1, "one reply")
            clock.advance(3_600)
            assert not asked.done()
            federation[SLOW].journal.open_gate()
            assert [answer_of(reply)["messages"] for reply in asked.result(PATIENCE)] == [1, 1]


def test_nodes_online_lists_only_live_data_owners(tmp_path: Path, storage: Storage, clock: StillClock) -> None:
    options = {AGGREGATOR: {"nodes": "online"}}
    with Federation(tmp_path / "homes", storage, clock=clock, options=options) as federation:
        federation.begin_run()
        assert federation.grid.get_node_ids() == []
        federation[OWNER].start()
        eventually(lambda: federation.grid.get_node_ids() == [node_id_of(OWNER)], "one data owner online")
        federation[SLOW].start()
        eventually(lambda: len(federation.grid.get_node_ids()) == 2, "both data owners online")

        # A killed client leaves its last heartbeat, which becomes old. The aggregator must read it before that.
        heartbeat = federation.names.heartbeat(SLOW)
        federation[SLOW].spy.refuses = {heartbeat: UnavailableError("the client was killed")}
        federation[SLOW].spy.wait_for_scans(4)
        storage.settle()
        looks = federation.spy.reads[heartbeat]
        eventually(lambda: federation.spy.reads[heartbeat] > looks + 1, "two reads of the heartbeat")
        clock.advance(2 * HEARTBEAT_INTERVAL + 1)
        eventually(lambda: federation.grid.get_node_ids() == [node_id_of(OWNER)], "only one data owner online")
        federation[SLOW].spy.refuses = {}


def test_old_heartbeat_does_not_count_as_online(tmp_path: Path, storage: Storage, clock: StillClock) -> None:
    options = {AGGREGATOR: {"nodes": "online"}}
    with Federation(tmp_path / "homes", storage, clock=clock, options=options) as federation:
        owner = federation[OWNER]
        owner.start()
        heartbeat = federation.names.heartbeat(OWNER)
        left = eventually(lambda: storage.read(heartbeat), "a heartbeat")
        federation.begin_run()
        federation.stop()
        owner.spy.inner.put(heartbeat, left, readers=[AGGREGATOR], replace=True)
        storage.settle()
        clock.advance(3_600)
        federation.begin_run()
        caller = federation.grid._caller
        caller._look_at_everything()
        assert federation.grid.get_node_ids() == []
        assert caller._liveness.last_seen(OWNER).startswith("last seen on 20")
