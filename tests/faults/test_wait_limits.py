"""Shows each limit of a wait, for the Message API, the legacy API and a loop of an app over push and pull."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultkit.apis import APIS, Api, Asking
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, reason_of
from faultkit.storage import MemoryStorage
from flwr.app import DEFAULT_TTL
from waiting import eventually

from syft_flwr._messaging.wire.limits import MAX_LIFETIME

OWNER, OTHER = OWNERS
HOUR = 3_600.0
MSG_TIMEOUT = 120.0


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    return APIS[request.param]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


class Scene(Federation):
    """A federation in memory with a clock that stands still, and the settings of its aggregator."""

    def wait_until_asked(self, *emails: str) -> None:
        """Wait until the app of each data owner has a message, or its file is there without a client."""
        for email in emails:
            eventually(lambda email=email: self[email].journal.calls, f"a call of {email}")

    def live(self, seconds: float, *emails: str, step: float = 60) -> None:
        """Let time pass while these data owners write heartbeats, and the aggregator reads them."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            for email in emails:
                self.wait_for_heartbeat(email)


@pytest.fixture
def scene(tmp_path: Path, clock: StillClock, request: pytest.FixtureRequest) -> Iterator[Scene]:
    options: dict[str, Any] = getattr(request, "param", {})
    with Scene(tmp_path / "homes", MemoryStorage(), clock=clock, options={AGGREGATOR: options}) as scene:
        yield scene
        for email in OWNERS:
            scene[email].journal.open_gate()


def settings(**options: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scene", [options], indirect=True, ids=[""])


def open_requests(scene: Scene) -> list[Any]:
    assert scene.grid
    return [each for each in scene.grid._caller._pending.open() if each.asked.type == "query"]


def asking_with_one_reply(scene: Scene, api: Api) -> Asking:
    """Return an exchange in which the other data owner has answered, and the first one still works."""
    scene.start()
    asking = Asking(api, scene, "answer_at_the_gate", OWNERS)
    scene.wait_until_asked(*OWNERS)
    scene[OTHER].journal.open_gate()
    eventually(lambda: len(open_requests(scene)) == 1, "the reply of the other data owner")
    return asking


def test_silence_ends_the_wait_for_a_dead_data_owner(scene: Scene, api: Api) -> None:
    scene.introduce()
    scene[OTHER].start()
    scene.begin_run()
    asking = Asking(api, scene, "answer", OWNERS)
    eventually(lambda: len(open_requests(scene)) == 1, "the reply of the other data owner")
    scene.let_pass(MSG_TIMEOUT - 1, step=20)
    assert not asking.is_done
    scene.let_pass(1)
    dead, alive = asking.result().values()
    assert dead == f"{OWNER}: no-answer: no reply, and no heartbeat for 120 s (msg_timeout)"
    assert alive == "good"


@settings(msg_timeout="none")
def test_without_msg_timeout_silence_never_ends_a_wait(scene: Scene, api: Api) -> None:
    scene.introduce()
    scene.begin_run()
    asking = Asking(api, scene, "answer", [OWNER])
    eventually(lambda: open_requests(scene), "the request")
    scene.let_pass(48 * HOUR, step=6 * HOUR)
    assert not asking.is_done
    scene[OWNER].start()
    assert asking.result() == {OWNER: "good"}


def test_living_data_owner_may_work_for_hours(scene: Scene, api: Api) -> None:
    """The timeout None and Flower's default of 3,600 s are no limit."""
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    # Each step is nearly as long as the silence that ends a wait.
    scene.live(2 * HOUR, OWNER, step=MSG_TIMEOUT - 20)
    assert not asking.is_done
    scene[OWNER].journal.open_gate()
    assert asking.result() == {OWNER: "good"}


def test_default_ttl_travels_as_31_days(scene: Scene, api: Api) -> None:
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    (pending,) = open_requests(scene)
    assert pending.expires - pending.created == MAX_LIFETIME
    scene[OWNER].journal.open_gate()
    assert asking.result() == {OWNER: "good"}
    assert scene[OWNER].journal.calls[0]["ttl"] == DEFAULT_TTL


def test_own_ttl_ends_the_wait_exactly(scene: Scene, api: Api) -> None:
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER], ttl=600.0)
    scene.wait_until_asked(OWNER)
    (pending,) = open_requests(scene)
    expires = pending.expires
    scene.live(540, OWNER)
    assert pending.expires == expires, "a heartbeat does not move the end of a lifetime"
    scene.clock.advance(59)
    assert not asking.is_done
    scene.clock.advance(1)
    (reason,) = asking.result().values()
    worked = re.fullmatch(
        f"{OWNER}: no-answer: no reply within 600 s, the ttl of the message; by its last heartbeat, the data owner worked on it "
        r"for (\d+) s",
        reason,
    )
    assert worked, reason
    # The aggregator has read the first heartbeat about the work after 0 to 120 s, and the last one after 540 to 600 s.
    assert 420 <= int(worked[1]) <= 600


@settings(round_timeout=300, msg_timeout="none")
def test_round_timeout_counts_from_the_first_message(scene: Scene, api: Api) -> None:
    asking = asking_with_one_reply(scene, api)
    scene.clock.advance(299)
    assert not asking.is_done
    scene.clock.advance(1)
    slow, fast = asking.result().values()
    assert slow.startswith(f"{OWNER}: no-answer: no reply within 300 s of the round (round_timeout)")
    assert fast == "good"


@settings(round_timeout=300, msg_timeout="none")
@pytest.mark.parametrize(("group", "ended"), [("1", OWNERS), ("", [OWNER])])
def test_later_message_of_a_group_ends_with_its_round(scene: Scene, group: str, ended: list[str]) -> None:
    """Without a group, each call is a round."""
    scene.introduce()
    scene.begin_run()
    assert scene.grid
    ids: dict[str, str] = {}
    for email, seconds in ((OWNER, 200), (OTHER, 100)):
        (ids[email],) = scene.grid.push_messages(scene.messages("answer", email, group=group))
        scene.let_pass(seconds, step=100)
    replies = scene.pull([ids[email] for email in ended])
    assert all("no reply within 300 s of the round (round_timeout)" in reason_of(reply) for reply in replies)
    assert [pending.id for pending in open_requests(scene)] == [ids[email] for email in OWNERS if email not in ended]


@settings(min_replies=0.5, grace=60, msg_timeout="none")
def test_quorum_and_grace_close_a_round(scene: Scene, api: Api, logged: list[str]) -> None:
    asking = asking_with_one_reply(scene, api)
    scene.clock.advance(59)
    assert not asking.is_done
    scene.clock.advance(1)
    late, good = asking.result().values()
    assert late.startswith(
        f"{OWNER}: late: the round was closed with 1 of 2 replies, after 60 s of grace (min_replies)"
    )
    assert good == "good"


@settings(min_replies=0.5, grace=60, msg_timeout="none")
def test_failed_reply_does_not_count_for_the_quorum(scene: Scene, api: Api) -> None:
    scene.start()
    asking = Asking(api, scene, {OWNER: "return_an_error", OTHER: "answer_at_the_gate"}, OWNERS)
    eventually(lambda: len(open_requests(scene)) == 1, "the failed reply")
    scene.clock.advance(10 * 60)
    assert not asking.is_done
    scene[OTHER].journal.open_gate()
    failed, good = asking.result().values()
    assert "the data is too small" in failed
    assert good == "good"


@settings(min_replies=0.5, grace=60, msg_timeout="none")
def test_replies_of_earlier_rounds_close_no_round(scene: Scene, api: Api) -> None:
    """The group of a message is empty, except in the legacy API, which counts its rounds."""
    scene.start()
    for _ in range(3):
        assert Asking(api, scene, "answer", OWNERS).result() == dict.fromkeys(OWNERS, "good")
    asking = Asking(api, scene, "answer_at_the_gate", OWNERS)
    for email in OWNERS:
        eventually(lambda email=email: len(scene[email].journal.calls) == 4, f"the fourth call of {email}")
    scene.clock.advance(10 * 60)
    assert not asking.is_done
    for email in OWNERS:
        scene[email].journal.open_gate()
    assert asking.result() == dict.fromkeys(OWNERS, "good")


def test_wait_is_logged_with_the_work_and_its_limit(scene: Scene, api: Api, logged: list[str]) -> None:
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    scene.live(240, OWNER)
    shown = re.compile(
        rf"waiting for {OWNER} \(.*; by its last heartbeat, the data owner worked on it for (\d+) s\); "
        r"the next wait ends in (\d+) s \(msg_timeout\)"
    )
    found = eventually(lambda: [each for line in logged if (each := shown.search(line))], "a line about the wait")
    worked, left = map(int, found[-1].groups())
    assert 60 <= worked <= 240
    assert left <= MSG_TIMEOUT
    scene[OWNER].journal.open_gate()
    assert asking.result() == {OWNER: "good"}


@settings(msg_timeout="none")
def test_request_behind_another_is_told_as_such(scene: Scene, api: Api) -> None:
    scene.start(OWNER)
    first = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    second = Asking(api, scene, "answer", [OWNER], ttl=300.0)
    eventually(lambda: len(open_requests(scene)) == 2, "the second request")
    scene.live(300, OWNER)
    (reason,) = second.result().values()
    busy = "the data owner is busy with an earlier message"
    assert reason == f"{OWNER}: no-answer: no reply within 300 s, the ttl of the message; {busy}"
    scene[OWNER].journal.open_gate()
    assert first.result() == {OWNER: "good"}


@pytest.mark.parametrize("limit", [{"msg_timeout": 60.0}, {"round_timeout": 60.0}, {"ttl": 60.0}], ids=str)
def test_reply_that_is_there_beats_a_limit(
    tmp_path: Path, clock: StillClock, api: Api, limit: dict[str, float]
) -> None:
    """The process was paused: the reply came meanwhile, and the limit passed."""
    options = {name: value for name, value in limit.items() if name != "ttl"}
    with Scene(tmp_path / "homes", MemoryStorage(), clock=clock, options={AGGREGATOR: options}) as scene:
        scene.start(OWNER)
        asking = Asking(api, scene, "answer_at_the_gate", [OWNER], ttl=limit.get("ttl"))
        scene.wait_until_asked(OWNER)
        (pending,) = open_requests(scene)
        with scene.spy.paused():
            scene[OWNER].journal.open_gate()
            eventually(lambda: scene.storage.read(pending.response_name), "the reply")
            clock.advance(3_600)
        assert asking.result() == {OWNER: "good"}


@settings(msg_timeout=60.0)
def test_pause_of_the_aggregator_gives_up_no_living_owner(scene: Scene, api: Api) -> None:
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    with scene.spy.paused():
        scene.clock.advance(10 * 60)
    scene.wait_for_heartbeat(OWNER)
    assert not asking.is_done
    scene[OWNER].journal.open_gate()
    assert asking.result() == {OWNER: "good"}


@settings(msg_timeout=60.0)
def test_silence_does_not_count_while_no_look_is_possible(scene: Scene, api: Api) -> None:
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    with scene.spy.unavailable():
        scene.let_pass(1_200, step=15)
    assert not asking.is_done
    scene[OWNER].journal.open_gate()
    assert asking.result() == {OWNER: "good"}


@settings(msg_timeout=60.0)
@pytest.mark.parametrize("stage", ["_accept", "_decode"])
def test_expensive_reply_makes_no_other_owner_silent(
    scene: Scene, api: Api, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reply is large, and takes hours to verify or to decode. The other data owner works meanwhile, and answers."""
    scene.start()
    assert scene.grid
    receiver, done = scene.grid._caller._receiver, threading.Event()
    real = getattr(receiver, stage)

    def slow(*arguments: Any) -> Any:
        if threading.current_thread().name.startswith("replies-"):
            assert done.wait(60)
        return real(*arguments)

    monkeypatch.setattr(receiver, stage, slow)
    behaviours = {OWNER: "answer_large" if stage == "_decode" else "answer_many_records", OTHER: "answer_at_the_gate"}
    asking = Asking(api, scene, behaviours, OWNERS)
    scene.wait_until_asked(*OWNERS)
    eventually(lambda: any(receiver.works_on(each) for each in open_requests(scene)), "the large reply")
    scene.live(600, OTHER)
    assert len(open_requests(scene)) == 2
    scene[OTHER].journal.open_gate()
    eventually(lambda: len(open_requests(scene)) == 1, "the small reply")
    done.set()
    assert asking.result() == {OWNER: "good", OTHER: "good"}


@settings(round_timeout=300, msg_timeout="none")
def test_refused_look_ends_no_wait(scene: Scene, api: Api) -> None:
    """The storage cannot be reached for a moment, just at the limit. The reply is there."""
    scene.start(OWNER)
    asking = Asking(api, scene, "answer_at_the_gate", [OWNER])
    scene.wait_until_asked(OWNER)
    (pending,) = open_requests(scene)
    with scene.spy.unavailable():
        scene[OWNER].journal.open_gate()
        eventually(lambda: scene.storage.read(pending.response_name), "the reply")
        looks = scene.spy.failed_reads
        scene.clock.advance(301)
        eventually(lambda: scene.spy.failed_reads > looks + 2, "looks at the limit")
        assert not asking.is_done
    assert asking.result() == {OWNER: "good"}


@settings(msg_timeout=60.0)
def test_defect_at_one_reply_stops_no_other_wait(
    scene: Scene, api: Api, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.introduce()
    scene[OWNER].start()
    scene.begin_run()
    assert scene.grid

    def fail(_: Any) -> Any:
        raise KeyError("a defect")

    monkeypatch.setattr(scene.grid._caller._receiver, "_decode", fail)
    asking = Asking(api, scene, "answer", OWNERS)
    scene.wait_until_asked(OWNER)
    scene.let_pass(60, step=10)
    broken, silent = asking.result().values()
    assert "an error of this program: KeyError" in broken
    assert "no heartbeat for 60 s (msg_timeout)" in silent
    assert any("report this as a bug" in line for line in logged)
    logged.clear()
