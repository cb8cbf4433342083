"""The stages of a request: only one thread moves it to the next stage, and it ends once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from syft_flwr._messaging.asking.pending import Ask, Pending, Stage
from syft_flwr._messaging.asking.pending_requests import PendingRequests
from syft_flwr._messaging.asking.round_limits import RoundLimits
from syft_flwr._messaging.asking.wait_limits import WaitLimits
from syft_flwr._messaging.wire.body import Failure
from syft_flwr.testing import FakeClock

DO = "do@y.org"
FAILURE = Failure(code="stopped", text="why")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def requests(clock: FakeClock) -> PendingRequests:
    return PendingRequests(clock, WaitLimits(RoundLimits(clock)))


def added(requests: PendingRequests, clock: FakeClock, stage: Stage = Stage.SEALING, number: int = 1) -> Pending:
    pending = Pending(
        id=f"{number:032x}",
        asked=Ask(DO, 7, "train", "1", 60, []),
        created=clock.now(),
        expires=clock.now() + timedelta(seconds=60),
        deadline=clock.monotonic() + 60,
        seen=clock.monotonic(),
        request_name=f"{number}.request",
        response_name=f"{number}.response",
        stage=stage,
    )
    requests.add([pending])
    return pending


def test_parallel_moves_leave_a_stage_once(requests: PendingRequests, clock: FakeClock) -> None:
    pending = added(requests, clock, Stage.TO_WRITE)

    with ThreadPoolExecutor(8) as threads:
        moved = list(threads.map(lambda _: requests.advance(pending, Stage.TO_WRITE, Stage.SENT), range(64)))

    assert moved.count(True) == 1
    assert pending.stage is Stage.SENT


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage not in (Stage.ENDED, Stage.DONE)])
def test_request_can_fail_in_every_open_stage(requests: PendingRequests, clock: FakeClock, stage: Stage) -> None:
    pending = added(requests, clock, stage)

    assert requests.fail(pending, FAILURE)
    assert not requests.fail(pending, FAILURE)
    assert requests.take_done([pending.id]) == []
    requests.finish(pending)

    assert requests.take_done([pending.id]) == [pending]
    assert pending.failure == FAILURE


def test_ended_request_does_not_move(requests: PendingRequests, clock: FakeClock) -> None:
    pending = added(requests, clock)
    requests.fail(pending, FAILURE)

    assert not requests.advance(pending, Stage.SEALING, Stage.TO_WRITE)
    requests.answer(pending, "late", None)
    assert (pending.stage, pending.answer) == (Stage.ENDED, None)


def test_answered_request_does_not_fail(requests: PendingRequests, clock: FakeClock) -> None:
    pending = added(requests, clock, Stage.ARRIVING)

    requests.answer(pending, "answer", None)

    assert not requests.fail(pending, FAILURE)
    assert (pending.answer, pending.failure) == ("answer", None)
    assert requests.take_done([pending.id]) == []
    requests.finish(pending)
    assert pending.is_done
    assert requests.open() == []
