"""Queued requests run in the order of their creation, and overtake no request of their round."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from syft_flwr._messaging.answering import queue as queue_module
from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.queue import RequestQueue
from syft_flwr._messaging.asking.order import SendingOrder
from syft_flwr._messaging.wire.body import Body, Manifest, ObjectRef
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr.testing import FakeClock

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MISSING = ObjectRef(id="0" * 32, size=1)


def request(number: int, *, group: str = "1", at: datetime | None = None) -> Request:
    created = at or NOON + timedelta(milliseconds=number)
    header = Header(
        id=f"{number:032x}",
        kind="request",
        run=5,
        app="app",
        sender="ds@university.example",
        recipient="do@hospital.example",
        sender_key="0" * 32,
        recipient_key="0" * 32,
        type="train",
        group=group,
        created=created,
        expires=created + timedelta(hours=1),
        encryption="none",
        body_size=1,
    )
    return Request(header, Body(Manifest(), b""), "", 0.0)


@pytest.fixture
def queue() -> RequestQueue:
    return RequestQueue(FakeClock())


def taken(queue: RequestQueue, count: int) -> list[int]:
    """Take this many requests, and return their numbers."""
    found = []
    for _ in range(count):
        one = queue.next()
        assert one is not None
        queue.done(one.header.id)
        found.append(int(one.header.id, 16))
    return found


@pytest.mark.parametrize("arrival", list(permutations([1, 2, 3])))
def test_requests_run_in_the_order_of_creation(queue: RequestQueue, arrival: tuple[int, ...]) -> None:
    for number in arrival:
        # Each in a scan of its own.
        queue.add(request(number))
        queue.queue_complete(lambda _: [])
    assert taken(queue, 3) == [1, 2, 3]


def test_order_goes_over_several_rounds(queue: RequestQueue) -> None:
    for number, group in ((4, "2"), (1, "1"), (3, "2"), (2, "1")):
        queue.add(request(number, group=group))
    queue.queue_complete(lambda _: [])
    assert taken(queue, 4) == [1, 2, 3, 4]


def test_request_waits_for_an_earlier_one_of_its_round(queue: RequestQueue) -> None:
    first, second, other = request(1), request(2), request(3, group="2")
    for one in (first, second, other):
        queue.add(one)
    queue.queue_complete(lambda one: [MISSING] if one == first else [])
    assert taken(queue, 1) == [3], "another round does not wait"
    queue.queue_complete(lambda _: [])
    assert taken(queue, 2) == [1, 2]


def test_withdrawn_request_holds_up_no_other(queue: RequestQueue) -> None:
    first, second = request(1), request(2)
    queue.add(first)
    queue.add(second)
    queue.queue_complete(lambda one: [MISSING] if one == first else [])
    queue.drop(first.header.id)
    assert taken(queue, 1) == [2]


def test_requests_of_one_moment_run_in_a_fixed_order(queue: RequestQueue) -> None:
    for number in (3, 1, 2):
        queue.add(replace(request(number, at=NOON)))
    queue.queue_complete(lambda _: [])
    assert taken(queue, 3) == [1, 2, 3]


def test_each_request_to_a_data_owner_gets_a_later_time() -> None:
    order = SendingOrder()
    moments = [NOON, NOON, NOON + timedelta(microseconds=10), NOON - timedelta(hours=1), NOON + timedelta(seconds=1)]
    times = [order.next("do@hospital.example", moment) for moment in moments]
    written = [time.isoformat(timespec="milliseconds") for time in times]
    assert written == sorted(set(written))
    assert order.next("other@hospital.example", NOON) == NOON


def test_new_request_is_later_than_a_resumed_one() -> None:
    order = SendingOrder()
    for ahead in (timedelta(seconds=5), timedelta(seconds=2)):
        order.note("do@hospital.example", NOON + ahead)
    assert order.next("do@hospital.example", NOON) > NOON + timedelta(seconds=5)


def test_queue_is_idle_once_until_the_next_request() -> None:
    clock = FakeClock()
    queue = RequestQueue(clock)
    calls: list[float] = []

    def note() -> None:
        calls.append(clock.monotonic())
        if len(calls) < 3:
            queue.add(request(len(calls)))
            queue.queue_complete(lambda _: [])
        else:
            queue.finish()

    def take(number: int) -> None:
        # The time is over when the wait begins, so no thread must move the clock.
        one = queue.next(note, after=0.0)
        assert one == replace(request(number), complete=clock.monotonic(), taken=clock.monotonic())
        queue.done(one.header.id)

    take(1)
    clock.advance(5)
    take(2)
    clock.advance(5)
    assert queue.next(note, after=0.0) is None
    assert calls == [0, 5, 10]


# The bounds


def test_waiting_requests_are_bounded_in_number(queue: RequestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_WAITING", 3)
    for number in range(3):
        assert queue.has_room(request(number))
        queue.add(request(number))
    queue.queue_complete(lambda one: [MISSING] if one.header.id.endswith("0") else [])

    assert not queue.has_room(request(3))
    queue.drop(request(0).header.id)
    assert queue.has_room(request(3))
    queue.add(request(3))
    assert not queue.has_room(request(4))
    assert taken(queue, 1) == [1]
    assert queue.has_room(request(4))


def test_waiting_requests_are_bounded_in_bytes(queue: RequestQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "MAX_WAITING_BYTES", 5)
    large = request(1)
    large = replace(large, header=large.header.model_copy(update={"body_size": 4}))
    for _ in range(3):
        # The same request may be read again.
        queue.add(large)
    queue.add(request(2))

    assert not queue.has_room(request(3))
    queue.queue_complete(lambda _: [])
    assert not queue.has_room(request(3))
    assert taken(queue, 1) == [1]
    assert queue.has_room(large)
    queue.drop(request(2).header.id)
    queue.drop(request(2).header.id)
    assert taken(queue, 0) == []
    assert queue.has_room(replace(large, header=large.header.model_copy(update={"body_size": 5})))
