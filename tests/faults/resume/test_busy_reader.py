"""Shows that an aggregator closes while its readers are busy with replies, also after it continued an interrupted run."""

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from faultkit.resuming import DO1, OWNERS, ResumingFederation
from waiting import PATIENCE, eventually

#: More than an envelope holds, so that a reader thread decodes it.
LARGE = bytes(40_000)
#: Seconds of a close on a busy machine. To wait for each reader would take two seconds for each.
SHORT = 1.5


class Busy:
    """A decoder that does not end before it is released."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.released = threading.Event()

    def __call__(self, buffers: Sequence[bytes]) -> list[bytes]:
        self.begun += 1
        assert self.released.wait(PATIENCE)
        self.ended += 1
        return list(buffers)


@pytest.fixture
def busy(federation: ResumingFederation) -> Iterator[Busy]:
    federation.decode = busy = Busy()
    federation.restart()
    yield busy
    busy.released.set()
    eventually(lambda: busy.ended == busy.begun, "the end of the readers")


def keep_readers_busy(federation: ResumingFederation, busy: Busy) -> list[str]:
    ids = federation.ask(b"head")
    for owner in federation.owners.values():
        owner.answer(b"done", LARGE)
    eventually(lambda: busy.begun == len(OWNERS), "the readers of both replies")
    return ids


def close_soon(federation: ResumingFederation) -> None:
    began = time.monotonic()
    federation.caller.close()
    assert time.monotonic() - began < SHORT


def test_close_does_not_wait_for_a_busy_reader(federation: ResumingFederation, busy: Busy) -> None:
    keep_readers_busy(federation, busy)
    close_soon(federation)
    assert busy.ended == 0


def test_resumed_aggregator_closes_with_busy_readers(federation: ResumingFederation, busy: Busy) -> None:
    ids = keep_readers_busy(federation, busy)
    federation.restart()
    assert federation.ask(b"head") == ids
    eventually(lambda: busy.begun == 2 * len(OWNERS), "the readers after the restart")
    close_soon(federation)
    assert busy.ended == 0


def test_late_result_of_a_reader_changes_no_outcome(
    federation: ResumingFederation, busy: Busy, logged: list[str]
) -> None:
    keep_readers_busy(federation, busy)
    close_soon(federation)
    before = federation.record()
    busy.released.set()
    eventually(lambda: busy.ended == busy.begun, "the end of the readers")
    eventually(lambda: not any(thread.name == "replies-resumption" for thread in threading.enumerate()), "no thread")
    assert federation.record() == before
    assert not [line for line in logged if DO1 in line and "cannot be used" in line]
