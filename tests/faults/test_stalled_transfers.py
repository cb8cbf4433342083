"""A sync service gives up objects: both sides report it, the bytes go again as another attempt, and the round ends well.

Each participant has its own folder, and the test is the sync service. The clock moves only in the test.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.hand_sync import HandSync
from faultkit.parts import assert_echo, make_app, model, part_sizes
from flwr.app import ArrayRecord
from waiting import PATIENCE, eventually

from syft_flwr._messaging.attempts import GIVEN_UP_AFTER
from syft_flwr.names import MAX_ATTEMPTS

OWNER, OTHER = OWNERS
DAY = 86_400.0
APP = make_app()


@pytest.fixture
def sync(tmp_path: Path) -> Iterator[HandSync]:
    with HandSync(tmp_path / "machines", AGGREGATOR, *OWNERS) as sync:
        yield sync


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def federation(tmp_path: Path, sync: HandSync, clock: StillClock) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", sync, clock=clock, client_app=APP) as federation:
        federation.introduce()
        federation.start()
        yield federation
        sync.gave_up = lambda _: False
    for email in (AGGREGATOR, *OWNERS):
        eventually(lambda e=email: not any(sync.objects(owner, e) for owner in (AGGREGATOR, *OWNERS)), "no object left")


@contextmanager
def sending(federation: Federation, arrays: ArrayRecord, *emails: str) -> Iterator[Future[Any]]:
    """Yield the future of an exchange in another thread."""
    messages = federation.messages("echo", *emails, arrays=arrays)
    for message in messages:
        message.metadata.ttl = 7 * DAY
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(lambda: list(federation.grid.send_and_receive(messages, timeout=7 * DAY)))
        finally:
            # The other thread must end, also if the test failed.
            caller = federation.grid._caller
            caller.give_up(caller._pending.ids(), "the test is over")


def pass_time(clock: StillClock, until: Callable[[], object], what: str) -> None:
    """Move the clock in small steps until the condition is true."""

    def step() -> object:
        clock.advance(0.5)
        return until()

    eventually(step, what)


def gives_up_first_attempts(federation: Federation, owner: str) -> Callable[[str], bool]:
    """Return a sync service that gave up every object of ``owner``, and knows nothing of later attempts."""

    def gave_up(name: str) -> bool:
        parsed = federation.names.parse_object(owner, name)
        return parsed is not None and parsed.attempt == 0

    return gave_up


def later_attempts(federation: Federation, sync: HandSync, owner: str) -> list[str]:
    found = [(name, federation.names.parse_object(owner, name)) for name in sync.objects(owner)]
    return [name for name, parsed in found if parsed and parsed.attempt]


def assert_same_bytes(federation: Federation, sync: HandSync, owner: str, name: str) -> None:
    parsed = federation.names.parse_object(owner, name)
    assert parsed is not None
    assert sync.read(name) == sync.read(federation.names.object(owner, parsed.id))


def wait_until_told(federation: Federation, sync: HandSync) -> None:
    """Wait until the data owner has written the heartbeat that is due now, and the aggregator has read it."""
    heartbeat = federation.names.heartbeat(OWNER)
    federation[OWNER].spy.wait_for_scans(2)
    eventually(lambda: sync.read(heartbeat, AGGREGATOR) == sync.read(heartbeat), "the heartbeat")
    looks = federation.spy.reads[heartbeat]
    eventually(lambda: federation.spy.reads[heartbeat] > looks + 1, "two reads of the heartbeat")


@pytest.mark.parametrize("writer", [AGGREGATOR, OWNER])
def test_given_up_objects_are_reported_and_sent_again(
    federation: Federation, sync: HandSync, clock: StillClock, logged: list[str], writer: str
) -> None:
    arrays = model(45_000)
    reader = OWNER if writer == AGGREGATOR else AGGREGATOR
    sync.gave_up = gives_up_first_attempts(federation, writer)
    with sending(federation, arrays, OWNER) as replies:
        pass_time(clock, lambda: later_attempts(federation, sync, writer), "a later attempt")
        name = later_attempts(federation, sync, writer)[0]
        assert_same_bytes(federation, sync, writer, name)
        assert any(f"our upload to {reader} has made no progress since" in line for line in logged)
        assert any(f"no object of {writer} has arrived since" in line for line in logged)
        pass_time(clock, replies.done, "the reply")
        assert_echo(replies.result(PATIENCE)[0], arrays)
    assert len(federation[OWNER].journal.calls) == 1


def test_slow_transfer_causes_no_attempt_and_no_warning(
    federation: Federation, sync: HandSync, clock: StillClock, logged: list[str]
) -> None:
    arrays = model(45_000)
    gives_up, arrived = gives_up_first_attempts(federation, AGGREGATOR), set[str]()
    sync.gave_up = lambda name: gives_up(name) and name not in arrived
    with sending(federation, arrays, OWNER) as replies:
        eventually(lambda: len(sync.objects(AGGREGATOR)) == len(part_sizes(45_128)), "the objects")
        for name in sync.objects(AGGREGATOR):
            for _ in range(2):
                clock.advance(GIVEN_UP_AFTER / 6)
                wait_until_told(federation, sync)
            arrived.add(name)
            eventually(lambda name=name: sync.read(name, OWNER), "the object")
            federation[OWNER].spy.wait_for_scans(2)
            assert later_attempts(federation, sync, AGGREGATOR) == []
        pass_time(clock, replies.done, "the reply")
        assert_echo(replies.result(PATIENCE)[0], arrays)
    assert [line for line in logged if "progress" in line or "has arrived since" in line] == []


def test_object_that_never_arrives_is_not_sent_without_end(
    federation: Federation, sync: HandSync, clock: StillClock
) -> None:
    gives_up = gives_up_first_attempts(federation, AGGREGATOR)
    sync.gave_up = lambda name: gives_up(name) or name in later_attempts(federation, sync, AGGREGATOR)
    with sending(federation, model(40_000), OWNER):
        pass_time(clock, lambda: len(later_attempts(federation, sync, AGGREGATOR)) >= 2, "two attempts")
        clock.advance(3_600)
        pass_time(clock, lambda: len(later_attempts(federation, sync, AGGREGATOR)) >= 3, "a third attempt")
        ids = [federation.names.parse_object(AGGREGATOR, name) for name in later_attempts(federation, sync, AGGREGATOR)]
        assert all(parsed and parsed.attempt < MAX_ATTEMPTS for parsed in ids)
