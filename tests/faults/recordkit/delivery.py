"""Faults on the way: data owners that are away or slow, requests that are refused, withdrawn or cannot be written, clocks."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from faultkit.federation import AGGREGATOR, Federation, answer_of, reason_of
from recordkit.examining import ALL_WELL, CLIENT_GONE, WELL, Found, findings_at
from recordkit.expected import (
    ASKED,
    BEGUN,
    OWNER,
    REPLIED,
    SERVED,
    SOME,
    M,
    N,
    answered,
    closed,
    ended,
    event,
    failed,
    received,
    refused,
    released,
    sent,
    started,
    warned,
)
from recordkit.scene import Fault, Scene
from recordkit.status import NO_RECORD, NORMAL, REPLYING, lost, shows
from waiting import PATIENCE, eventually

from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError, StorageFullError, StoreError
from syft_flwr.fl_orchestrator import SyftGrid


class OtherClock:
    """A wall clock that is ``ahead`` seconds ahead of the shared one."""

    def __init__(self, shared: Any, ahead: float) -> None:
        self._shared = shared
        self.ahead = timedelta(seconds=ahead)

    def now(self) -> datetime:
        found: datetime = self._shared.now() + self.ahead
        return found

    def monotonic(self) -> float:
        return float(self._shared.monotonic())

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        self._shared.wait_until(condition, deadline)


def owner_is_offline(scene: Scene) -> None:
    scene.federation.introduce()
    scene.federation.begin_run()
    with scene.federation.asking("answer", OWNER, timeout=1_000) as replies:
        for _ in range(2):
            scene.clock.advance(2 * HEARTBEAT_INTERVAL)
            looks = looks_for_life(scene)
            eventually(lambda looks=looks: looks_for_life(scene) > looks + 1, "two looks for a heartbeat")
        scene.examine()
        scene.clock.advance(1_000)
        assert "no reply within 1000 s" in reason_of(replies.result(PATIENCE)[0])


def owner_becomes_silent(scene: Scene) -> None:
    """Let the client end in the middle of the app's work, without a word. No timeout of the strategy ends the wait."""
    scene.federation.start()
    message_id = scene.push_to_the_gate()
    scene.clock.advance(1)
    scene.federation.wait_for_heartbeat(OWNER)
    scene.owner.journal.open_gate()
    scene.pull(message_id)
    with scene.federation.asking("interrupt_the_first_time", OWNER, timeout=None) as replies:
        with pytest.raises(KeyboardInterrupt):
            scene.owner.join()
        left = scene.storage.read(scene.federation.names.heartbeat(OWNER))
        assert not left, "a client that ends deletes its heartbeat"
        for _ in range(6):
            scene.federation.let_pass(HEARTBEAT_INTERVAL)
        assert "no heartbeat for 300 s" in reason_of(replies.result(PATIENCE)[0])


def sync_refuses(scene: Scene) -> None:
    scene.federation.introduce()
    scene.federation.begin_run()
    message_id = scene.push()
    scene.storage.refuse(scene.federation.request_name(OWNER, message_id))
    assert "sync-refused" in reason_of(scene.pull(message_id))


def withdrawn_in_training(scene: Scene) -> None:
    scene.federation.start()
    message_id = scene.push_to_the_gate()
    scene.federation.withdraw(message_id)
    scene.owner.spy.wait_for_scans()
    scene.owner.journal.open_gate()
    scene.federation.assert_served()


def no_room_for_the_request(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.grid._caller.wait(scene.grid._announced, timeout=PATIENCE)
    scene.federation.spy.refuses = {f"{OWNER}/app_data": StorageFullError("no room left")}
    assert "no room left" in reason_of(scene.ask(timeout=10))
    scene.federation.spy.refuses = {}


def link_is_cut_once(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.grid._caller.wait(scene.grid._announced, timeout=PATIENCE)
    scene.storage[AGGREGATOR].trouble("put", part=".request")
    message_id = scene.push()
    # The request is written again at the next scan, or has failed.
    assert scene.pull(message_id)


def replies_come_too_late(scene: Scene) -> None:
    """Let one of two data owners reply; the round closes after the grace without the other."""
    federation = Federation(
        scene.folder / "two",
        scene.storage,
        clock=scene.clock,
        options={AGGREGATOR: {"min_replies": 0.5, "grace": 60.0}},
    )
    slow, fast = federation.owners.values()
    with federation:
        federation.start()
        fast.journal.open_gate()
        with federation.asking("answer_at_the_gate", timeout=86_400) as asked:
            eventually(lambda: len(federation.grid._caller._pending.open()) == 1, "one reply")
            looks, heartbeat = federation.spy.reads, federation.names.heartbeat(slow.email)
            goal = looks[heartbeat] + 2
            eventually(lambda: looks[heartbeat] >= goal, "two scans of the aggregator")
            scene.clock.advance(60)
            late, counted = asked.result(PATIENCE)
        assert answer_of(counted)
        assert "late" in reason_of(late)
        federation.publish_withdrawals()
        slow.spy.wait_for_scans()
        slow.journal.open_gate()
        federation.assert_served()
        scene.federation = federation
        scene.examine()


def owner_clock_is_fast(scene: Scene) -> None:
    clock = scene.owner.participant.clock = OtherClock(scene.clock, 0.0)
    scene.federation.start()
    scene.federation.assert_served()
    clock.ahead = timedelta(days=32)
    message_id = scene.push()
    scene.wait_for_log("it expired at")
    # The next heartbeat tells the aggregator the time of the data owner.
    name = scene.federation.names.heartbeat(OWNER)
    earlier = scene.storage.read(name)
    scene.clock.advance(HEARTBEAT_INTERVAL)
    eventually(lambda: scene.storage.read(name) != earlier, "the next heartbeat")
    scene.examine()
    clock.ahead = timedelta()
    assert answer_of(scene.pull(message_id))


def slow_training(scene: Scene) -> None:
    """Let an app work for five minutes: heartbeats show that the request is held, and running."""
    scene.federation.start()
    with scene.federation.asking("answer_at_the_gate", OWNER, timeout=None) as replies:
        (call,) = eventually(lambda: scene.owner.journal.calls, "the call of the app")
        scene.owner.journal.wait_for_call(call["message"])
        for _ in range(6):
            scene.clock.advance(50)
            scene.federation.wait_for_heartbeat(OWNER)
        scene.owner.journal.open_gate()
        assert answer_of(replies.result(PATIENCE)[0])


def ping_in_training(scene: Scene) -> None:
    """Ping a data owner while its app works. A ping asks for no work, so it is no request of the run."""
    scene.federation.start()
    message_id = scene.push_to_the_gate()
    assert scene.grid.ping(PATIENCE)[OWNER]
    scene.owner.journal.open_gate()
    assert answer_of(scene.pull(message_id))


def second_server_and_client(scene: Scene) -> None:
    scene.federation.start()
    with pytest.raises(StoreError):
        SyftGrid(scene.federation.app, [OWNER], client=scene.federation.participant)
    with Federation(scene.folder / "homes", scene.storage, [OWNER]) as twin:
        twin[OWNER].start()
        with pytest.raises(StoreError):
            twin[OWNER].join()
    scene.federation.assert_served()


def settings_are_wrong(scene: Scene) -> None:
    with pytest.raises(ConfigError):
        SyftGrid(scene.federation.app, ["no email"], client=scene.federation.participant)
    with pytest.raises(ConfigError) as refused_setting:
        load_settings(environ={}, datasites=["no email"])
    scene.findings[AGGREGATOR] = findings_at(None, scene.clock, None, error=refused_setting.value)
    scene.examine(OWNER)


def looks_for_life(scene: Scene) -> int:
    """Return how often the aggregator has looked for a heartbeat."""
    return int(scene.federation.spy.reads[scene.federation.names.heartbeat(OWNER)])


_DELIVERY = "faults/test_delivery.py"
_NOTHING_ARRIVED = shows(
    "| 0 of 0 | 0 |", after=(": failed after", "(the run failed at its aggregator)", "| 0 of 0 | 0 |")
)
FAULTS = [
    Fault(
        "the data owner is offline",
        owner_is_offline,
        (
            BEGUN,
            sent(),
            event("silent", data_owner=OWNER, last_seen=""),
            failed("no-answer", "no reply within 1000 s"),
            ended(),
        ),
        (),
        [_DELIVERY],
        ends=("failed", ""),
        never=(["seen"], []),
        status=(
            shows(
                "not seen yet | query request sent",
                ("Waits for", "silent, never"),
                after=(": failed", "| 0 of 1 | 1: no-answer |", "no-answer: no reply within 1000 s"),
            ),
            NO_RECORD,
        ),
        doctor=CLIENT_GONE,
    ),
    Fault(
        "the data owner becomes silent",
        owner_becomes_silent,
        (
            BEGUN,
            event("seen", data_owner=OWNER),
            sent(),
            event("waiting", data_owners=[OWNER], until=SOME, limit="msg_timeout"),
            event("silent", data_owner=OWNER, last_seen=SOME),
            failed("no-answer", "no heartbeat for 300 s"),
            ended(),
        ),
        (SERVED, received(), started()),
        [
            _DELIVERY,
            "faults/test_slow_links.py",
            "faults/test_heartbeats.py",
            "faults/test_wait_limits.py",
            "chaos/test_away.py",
            "chaos/test_away_in_faults.py",
        ],
        ends=("completed", "running"),
        never=([], ["run-ended"]),
        options={AGGREGATOR: {"msg_timeout": 300.0}},
        status=(
            shows(
                "| online, ",
                ("Waits for", "(msg_timeout, the longest silence)", "query request sent"),
                ("Waits for", "| silent, ", "| query request sent for 2m "),
                after=(": completed", "| 1 of 2 | 1: no-answer |", "no-answer: no reply, and no heartbeat for 300 s"),
            ),
            shows("query runs", after=(": interrupted", "| 1 of 2 | 0 |")),
        ),
        doctor=CLIENT_GONE,
    ),
    Fault(
        "the app works for long",
        slow_training,
        (
            BEGUN,
            sent(),
            event("request-held", message=M, data_owner=OWNER, stage="running"),
            answered(seconds=SOME),
            ended(),
        ),
        (SERVED, received(), started(), released(seconds=SOME), closed(), ended()),
        [_DELIVERY, "faults/test_seconds.py"],
        never=(["silent"], []),
        status=(
            shows(
                ("Waits for", "(msg_timeout, the longest silence)", "works on query"),
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
            REPLYING,
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "a ping in training",
        ping_in_training,
        ASKED,
        REPLIED,
        ["faults/test_ping.py"],
        never=(["silent"], ["request-refused"]),
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "the sync service refuses the request",
        sync_refuses,
        (BEGUN, sent(), failed("sync-refused", "no permission to write"), ended()),
        (),
        [_DELIVERY],
        ends=("failed", ""),
        status=(lost("sync-refused: ", "no permission to write"), NO_RECORD),
        doctor=CLIENT_GONE,
    ),
    Fault(
        "a request is withdrawn in training",
        withdrawn_in_training,
        (BEGUN, sent(), failed("no-answer", "the test withdrew it"), sent(N), answered(N), ended()),
        (SERVED, received(), started(), closed(), received(N), started(N), released(N), closed(N), ended()),
        [_DELIVERY, "faults/test_restart.py", "faults/test_withdrawn_work.py"],
        status=(
            lost("no-answer: the test withdrew it", after="1 of 2", state="completed"),
            shows("query runs", "idle | 0 of 1 | 0", after=(": completed", "| 1 of 2 | 0 |")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "no room to write the request",
        no_room_for_the_request,
        (BEGUN, sent(), warned("no room left", "error"), failed("storage-full", "no room left"), ended()),
        (SERVED, ended()),
        [_DELIVERY, "faults/test_bad_transport.py"],
        never=([], ["request-started"]),
        ends=("failed", "failed"),
        status=(lost("storage-full: no room left"), _NOTHING_ARRIVED),
        doctor=ALL_WELL,
    ),
    Fault(
        "the link to the storage is cut",
        link_is_cut_once,
        (BEGUN, sent(), warned("the link to the storage was cut", "error"), failed("not-sent", "was cut"), ended()),
        (SERVED, ended()),
        ["faults/test_bad_transport.py"],
        over="bad",
        ends=("failed", "failed"),
        status=(lost("not-sent: the link to the storage was cut"), _NOTHING_ARRIVED),
        doctor=ALL_WELL,
    ),
    Fault(
        "a reply comes too late for its round",
        replies_come_too_late,
        (
            BEGUN,
            sent(),
            event("waiting", data_owners=[OWNER], until=SOME, limit="min_replies"),
            failed("late", "the round was closed with 1 of 2 replies"),
            sent(N),
            answered(N),
            ended(),
        ),
        (SERVED, received(), started(), closed(), received(N), started(N), released(N), ended()),
        ["faults/test_quorum.py"],
        status=(
            shows(
                (f"Waits for {OWNER}", "(min_replies, the wait for the last replies)"),
                after=(": completed", "| 1 of 2 | 0 |"),
            ),
            shows("query runs", "idle | 0 of 1 | 0", after=(": completed", "| 1 of 2 | 0 |")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "the clock of the data owner is fast",
        owner_clock_is_fast,
        (BEGUN, sent(N), answered(N), sent(), answered(), ended()),
        (SERVED, received(N), released(N), received(), released(), ended()),
        ["faults/test_clock_jumps.py"],
        no_run=(refused("invalid", "it expired at", aggregator=AGGREGATOR),),
        status=(
            shows("idle | 1 of 1 | 0", after=(": completed", "| 2 of 2 | 0 |")),
            shows("idle | 1 of 1 | 0", after=(": completed", "| 2 of 2 | 0 |")),
        ),
        doctor=([Found("clock", f"768 hours behind the clock of {OWNER}")], WELL),
    ),
    Fault(
        "a second server and a second client are started",
        second_server_and_client,
        ASKED,
        REPLIED,
        [_DELIVERY, "faults/test_killed.py"],
        never=(["run-resumed"], ["run-resumed"]),
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "the settings are wrong",
        settings_are_wrong,
        (),
        (),
        ["faults/test_bad_input.py"],
        ends=("", ""),
        status=(NO_RECORD, NO_RECORD),
        doctor=([Found("settings", "no email")], [Found("peers-running", f"no file of {AGGREGATOR} has arrived here")]),
    ),
]
