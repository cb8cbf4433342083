"""``LogOnce`` logs each key once."""

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from syft_flwr import log_once
from syft_flwr.log_once import OURSELVES, STRANGERS, LogOnce

PEER = "do@x.org"


def test_each_key_of_a_text_is_new_once() -> None:
    once = LogOnce()

    assert once.warning(PEER, "a", "{} waits", 1)
    assert not once.warning(PEER, "a", "{} waits", 2)
    assert once.warning(PEER, "b", "{} waits", 3)
    assert once.warning(PEER, "a", "{} fails", 4)
    assert not once.error(PEER, "a", "{} fails", 5)


def test_many_lines_of_one_kind_are_cut(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 3)
    once = LogOnce()

    assert [once.warning(PEER, key, "{} is bad", key) for key in "abcdefabcdef"] == [True] * 3 + [False] * 9
    assert logged[:3] == ["WARNING a is bad", "WARNING b is bad", "WARNING c is bad"]
    (cut,) = logged[3:]
    assert f"3 different lines of this kind about {PEER} were logged; further ones are dropped" in cut
    assert cut.endswith("until the next start: {} is bad")
    # Only the keys that were logged take memory.
    assert sum(map(len, once._seen.values())) == 3


def test_cut_lines_hide_no_line_of_another_kind(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 3)
    once = LogOnce()
    for number in range(10):
        once.warning(PEER, number, "{} is bad", number)

    assert once.error(PEER, "disk", "the disk is full")
    assert logged[-1] == "ERROR the disk is full"


@pytest.mark.parametrize("flooding", [PEER, STRANGERS, OURSELVES])
@pytest.mark.parametrize("other", ["ds@x.org", PEER, STRANGERS, OURSELVES])
def test_flood_of_one_peer_hides_no_line_about_another(logged: list[str], flooding: str, other: str) -> None:
    once = LogOnce()
    for number in range(10_000):
        once.warning(flooding, f"{flooding}/{number}", "{} is ignored", number)

    assert len(logged) == log_once._CAPACITY + 1
    assert once.warning(other, "a file", "{} is ignored", "a file") == (other != flooding)


def test_flood_takes_little_memory() -> None:
    once = LogOnce()
    tracemalloc.start()
    try:
        for number in range(10_000):
            once.warning(STRANGERS, f"{number}" + "x" * 700, "{} is ignored", number)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 200_000


def test_many_peers_at_once_keep_a_smaller_budget_each(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(log_once, "_MANY", 1_500)
    once = LogOnce()
    for peer in range(10):
        for number in range(2_000):
            once.warning(f"do{peer}@x.org", f"{peer} {number}", "{} is bad", number)

    counts = [len(seen) for seen in once._seen.values()]
    assert counts == [1_000, 500] + 8 * [log_once._RESERVED]
    assert sum("different lines of this kind about" in line for line in logged) == 10


def test_peers_beyond_the_limit_share_one_budget(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(log_once, "_MOST_PEERS", 4)
    once = LogOnce()
    for number in range(2_000):
        for peer in range(5):
            once.warning(f"do{peer}@x.org", f"{peer} {number}", "{} is bad", number)

    assert len(once._seen) == 3
    assert sum(map(len, once._seen.values())) == 3 * log_once._CAPACITY
    assert sum("about other participants were logged" in line for line in logged) == 1


def test_concurrent_threads_report_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 1_000)
    once = LogOnce()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            first = list(threads.map(lambda number: once.warning(PEER, number // 8, "{}", number), range(4_000)))
    finally:
        sys.setswitchinterval(interval)

    assert first.count(True) == 500


def test_line_is_logged_once_for_its_key(logged: list[str]) -> None:
    once = LogOnce()

    for number in range(3):
        once.warning(PEER, "key", "{} waits: {}", "a message", number)
    once.error(PEER, "another key", "{} failed", "a message")

    assert logged == ["WARNING a message waits: 0", "ERROR a message failed"]
