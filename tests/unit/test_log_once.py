"""``LogOnce`` logs each key once."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from syft_flwr._messaging import log_once
from syft_flwr._messaging.log_once import LogOnce


def test_first_returns_true_once_per_key() -> None:
    said = LogOnce()

    assert said.first("a")
    assert not said.first("a")
    assert said.first("b")
    assert said.first(ValueError("a reason"))
    assert not said.first("a reason")


def test_first_returns_false_for_keys_over_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 3)
    said = LogOnce()

    assert [said.first(what) for what in "abcdefabcdef"] == [True] * 3 + [False] * 9


def test_concurrent_threads_report_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 1_000)
    said = LogOnce()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            first = list(threads.map(lambda number: said.first(number // 8), range(4_000)))
    finally:
        sys.setswitchinterval(interval)

    assert first.count(True) == 500


def test_line_is_logged_once_for_its_key(logged: list[str]) -> None:
    once = LogOnce()

    for number in range(3):
        once.warning("key", "{} waits: {}", "a message", number)
    once.error("another key", "{} failed", "a message")

    assert logged == ["WARNING a message waits: 0", "ERROR a message failed"]
