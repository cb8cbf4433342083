"""``LogOnce`` logs each key once."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from syft_flwr._messaging import log_once
from syft_flwr._messaging.log_once import LogOnce


def test_each_key_of_a_text_is_new_once() -> None:
    once = LogOnce()

    assert once.warning("a", "{} waits", 1)
    assert not once.warning("a", "{} waits", 2)
    assert once.warning("b", "{} waits", 3)
    assert once.warning("a", "{} fails", 4)
    assert not once.error("a", "{} fails", 5)


def test_many_lines_of_one_kind_are_cut(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 3)
    once = LogOnce()

    assert [once.warning(key, "{} is bad", key) for key in "abcdefabcdef"] == [True] * 3 + [False] * 9
    assert logged[:3] == ["WARNING a is bad", "WARNING b is bad", "WARNING c is bad"]
    (cut,) = logged[3:]
    assert "further ones are dropped until the next start: {} is bad" in cut
    # Only the keys that were logged take memory.
    assert sum(map(len, once._seen.values())) == 3


def test_cut_lines_hide_no_line_of_another_kind(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 3)
    once = LogOnce()
    for number in range(10):
        once.warning(number, "{} is bad", number)

    assert once.error("disk", "the disk is full")
    assert logged[-1] == "ERROR the disk is full"


def test_concurrent_threads_report_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 1_000)
    once = LogOnce()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            first = list(threads.map(lambda number: once.warning(number // 8, "{}", number), range(4_000)))
    finally:
        sys.setswitchinterval(interval)

    assert first.count(True) == 500


def test_line_is_logged_once_for_its_key(logged: list[str]) -> None:
    once = LogOnce()

    for number in range(3):
        once.warning("key", "{} waits: {}", "a message", number)
    once.error("another key", "{} failed", "a message")

    assert logged == ["WARNING a message waits: 0", "ERROR a message failed"]
