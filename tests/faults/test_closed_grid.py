"""A grid that is closed during a wait: each message still gets one reply, and the missing ones are errors."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faultkit.clock import StillClock
from faultkit.federation import OWNERS, Federation, reason_of
from faultkit.storage import MemoryStorage
from flwr.app import Message
from waiting import PATIENCE, eventually

FIRST, SECOND = OWNERS


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path, memory, clock=StillClock()) as made:
        yield made


def replies_by_owner(federation: Federation, replies: list[Message], sent: list[Message]) -> dict[str, Message]:
    assert [reply.metadata.src_node_id for reply in replies] == [each.metadata.dst_node_id for each in sent]
    return dict(zip(federation.emails, replies, strict=True))


def is_stopped(reply: Message) -> bool:
    return reply.has_error() and "stopped" in reason_of(reply)


def test_wait_that_a_close_ends_has_one_reply_each(federation: Federation) -> None:
    federation.introduce()
    federation.begin_run()
    with federation.asking(timeout=None) as asked:
        federation.close_grid()
        replies = asked.result(PATIENCE)
    assert len(replies) == len(OWNERS)
    assert all(map(is_stopped, replies))


def test_reply_before_a_close_is_still_given_out(federation: Federation) -> None:
    federation.start(FIRST)
    federation.introduce()
    federation.begin_run()
    grid, sent = federation.grid, federation.messages()
    assert grid is not None
    ids = grid.push_messages(sent)
    eventually(lambda: [p for p in grid._caller._pending.done() if p.id in ids], "the first reply")
    federation.close_grid()

    found = grid.pull_messages(ids)

    by_owner = replies_by_owner(federation, found, sent)
    assert by_owner[FIRST].has_content()
    assert is_stopped(by_owner[SECOND])
    assert grid.pull_messages(ids) == []


def test_message_after_a_close_gets_an_error(federation: Federation) -> None:
    federation.introduce()
    federation.begin_run()
    grid, sent = federation.grid, federation.messages()
    assert grid is not None
    federation.close_grid()

    replies = grid.send_and_receive(sent)

    assert len(replies_by_owner(federation, replies, sent)) == len(OWNERS)
    assert all(map(is_stopped, replies))
    federation.assert_nothing_left()


@pytest.mark.parametrize("step", ["before it is sealed", "before its record", "after its record"])
def test_send_during_a_close_has_one_reply_each(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    federation.introduce()
    federation.begin_run()
    grid, sent = federation.grid, federation.messages()
    assert grid is not None
    reached, goes_on = threading.Event(), threading.Event()

    def pausing(call: Callable[..., object], *, after: bool = False) -> Callable[..., object]:
        def paused(*args: object, **options: object) -> object:
            done = call(*args, **options) if after else None
            reached.set()
            assert goes_on.wait(PATIENCE)
            return done if after else call(*args, **options)

        return paused

    if step == "before it is sealed":
        monkeypatch.setattr(grid._trust, "identity_of", pausing(grid._trust.identity_of))
    else:
        monkeypatch.setattr(grid._futures, "add", pausing(grid._futures.add, after=step == "after its record"))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(grid.send_and_receive, sent)
        try:
            assert reached.wait(PATIENCE)
            federation.close_grid()
        finally:
            goes_on.set()
        replies = asked.result(PATIENCE)
    assert len(replies_by_owner(federation, replies, sent)) == len(OWNERS)
    assert all(reply.has_error() for reply in replies)
