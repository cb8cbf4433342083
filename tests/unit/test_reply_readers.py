"""The threads that read large replies: one reply of a data owner at a time, and limited bytes together."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from waiting import PATIENCE, eventually

from syft_flwr._messaging.asking.pending import Ask, Pending
from syft_flwr._messaging.asking.reply_readers import ReplyReaders

MB = 1 << 20
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def reply_of(owner: str, number: int = 1) -> Pending:
    message_id = f"{owner}-{number}"
    return Pending(
        message_id, Ask(owner, 7, "train", "1", 60, []), NOW, NOW, 60.0, 0.0, f"{message_id}.q", f"{message_id}.r"
    )


class Gate:
    """Holds each reading until it is let through, and notes the order of the readings."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._open: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self.error: Exception | None = None

    def _event(self, message_id: str) -> threading.Event:
        with self._lock:
            return self._open.setdefault(message_id, threading.Event())

    def read(self, pending: Pending) -> None:
        self.begun.append(pending.id)
        assert self._event(pending.id).wait(PATIENCE)
        self.ended.append(pending.id)
        if self.error:
            raise self.error

    def let_through(self, *replies: Pending) -> None:
        for reply in replies:
            self._event(reply.id).set()
        eventually(lambda: all(reply.id in self.ended for reply in replies), "the end of the readings")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def readers(gate: Gate) -> Iterator[ReplyReaders]:
    readers = ReplyReaders(gate.read, "readers")
    yield readers
    for event in gate._open.values():
        event.set()
    readers.close()


def test_replies_of_two_data_owners_are_read_together(readers: ReplyReaders, gate: Gate) -> None:
    one, two = reply_of("a@x.org"), reply_of("b@x.org")
    readers.offer(one, MB)
    readers.offer(two, MB)
    eventually(lambda: len(gate.begun) == 2, "both readings")
    gate.let_through(two)
    gate.let_through(one)
    assert gate.ended == [two.id, one.id]


def test_data_owner_has_one_reply_in_work(readers: ReplyReaders, gate: Gate) -> None:
    first, second, other = reply_of("a@x.org"), reply_of("a@x.org", 2), reply_of("b@x.org")
    for reply in (first, second, other):
        readers.offer(reply, MB)
    eventually(lambda: len(gate.begun) == 2, "two readings")
    gate.let_through(other)
    assert second.id not in gate.begun
    gate.let_through(first)
    gate.let_through(second)


def test_replies_in_work_have_limited_bytes(readers: ReplyReaders, gate: Gate) -> None:
    large, small, larger, later = (reply_of(f"{name}@x.org") for name in "abcd")
    readers.offer(large, 200 * MB)
    eventually(lambda: gate.begun, "the first reading")
    readers.offer(small, MB)
    eventually(lambda: small.id in gate.begun, "the small reply")
    # A reply above the limit is read alone, and no later one overtakes it.
    readers.offer(larger, 1_000 * MB)
    readers.offer(later, MB)
    gate.let_through(small)
    assert not {larger.id, later.id} & {*gate.begun}
    gate.let_through(large)
    gate.let_through(larger)
    gate.let_through(later)
    assert gate.ended[-2:] == [larger.id, later.id]


def test_reply_in_work_is_read_again_if_offered(readers: ReplyReaders, gate: Gate) -> None:
    reply = reply_of("a@x.org")
    readers.offer(reply, MB)
    eventually(lambda: gate.begun, "the first reading")
    assert readers.works_on(reply)
    for _ in range(3):
        readers.offer(reply, MB)
    gate.let_through(reply)
    eventually(lambda: len(gate.ended) == 2 and not readers.works_on(reply), "the second reading")
    assert gate.begun == [reply.id] * 2


def test_error_ends_no_thread(readers: ReplyReaders, gate: Gate, logged: list[str]) -> None:
    gate.error = RuntimeError("a defect")
    for number in range(6):
        reply = reply_of("a@x.org", number)
        readers.offer(reply, MB)
        gate.let_through(reply)
    eventually(lambda: len([line for line in logged if "report this as a bug" in line]) == 6, "six lines")


def test_idle_readers_have_no_thread(readers: ReplyReaders, gate: Gate) -> None:
    reply = reply_of("a@x.org")
    readers.offer(reply, MB)
    gate.let_through(reply)
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "readers"], "the end of the thread")


def test_close_forgets_the_replies_that_wait(readers: ReplyReaders, gate: Gate) -> None:
    first, second = reply_of("a@x.org"), reply_of("a@x.org", 2)
    readers.offer(first, MB)
    readers.offer(second, MB)
    eventually(lambda: gate.begun, "the first reading")
    closing = threading.Thread(target=readers.close)
    closing.start()
    eventually(lambda: readers._closed, "the close")
    gate.let_through(first)
    closing.join(PATIENCE)
    assert not closing.is_alive()
    readers.offer(second, MB)
    assert gate.begun == [first.id]
