"""The threads of one message: their number is the setting ``threads``."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import PATIENCE

from syft_flwr._messaging.threads import limit_threads, on_all_cores, reader_threads
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.participant import open_participant


@pytest.fixture(autouse=True)
def _default() -> Iterator[None]:
    yield
    limit_threads(None)


def most_at_once(parts: int, meeting: int, **options: int) -> int:
    """Return how many parts ran at the same time; the first ones wait for ``meeting`` of them."""
    together, lock = threading.Barrier(meeting), threading.Lock()
    running, most = 0, 0

    def work(part: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if part < meeting:
            together.wait(PATIENCE)
        with lock:
            running -= 1
        return part

    assert on_all_cores(work, range(parts), **options) == list(range(parts))
    return most


@pytest.mark.parametrize("chosen", [1, 3, 6])
def test_message_uses_the_chosen_threads(chosen: int) -> None:
    limit_threads(chosen)
    assert most_at_once(12, chosen) == chosen


def test_work_that_waits_for_a_service_has_its_own_threads() -> None:
    limit_threads(1)
    assert most_at_once(4, 4, threads=4) == 4


@pytest.mark.parametrize(("chosen", "readers"), [(None, 4), (1, 1), (8, 4)])
def test_readers_of_replies_are_never_more_than_chosen(chosen: int | None, readers: int) -> None:
    limit_threads(chosen)
    assert reader_threads(4) == readers


def test_participant_takes_the_setting(tmp_path: Path) -> None:
    (tmp_path / "box" / "datasites" / "me@x.org").mkdir(parents=True)
    environ = {
        "SYFT_FLWR_THREADS": "2",
        "SYFTBOX_EMAIL": "me@x.org",
        "SYFTBOX_FOLDER": str(tmp_path / "box"),
        "SYFT_FLWR_HOME": str(tmp_path / "home"),
    }
    open_participant(load_settings(environ=environ), live=False).transport.close()
    assert reader_threads(4) == 2
