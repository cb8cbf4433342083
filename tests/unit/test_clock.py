"""The system clock, and the fake clock that tests set."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from waiting import eventually

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.testing import FakeClock

PATIENCE = 10.0


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_clock_is_utc_and_never_goes_back(clock: Clock) -> None:
    first = clock.monotonic()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() >= first


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_past_deadline_returns_at_once(clock: Clock) -> None:
    condition = threading.Condition()
    with condition:
        clock.wait_until(condition, clock.monotonic())
        clock.wait_until(condition, clock.monotonic() - 5)


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_notification_ends_unlimited_wait(clock: Clock) -> None:
    condition = threading.Condition()
    waiting = threading.Event()

    def wait() -> None:
        with condition:
            waiting.set()
            clock.wait_until(condition, None)

    with ThreadPoolExecutor(1) as other:
        done = other.submit(wait)
        assert waiting.wait(PATIENCE)
        # This thread gets the condition only after the other thread waits on it.
        with condition:
            condition.notify_all()
        done.result(PATIENCE)


def test_advance_moves_both_clocks_and_wakes_waiters() -> None:
    clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
    condition = threading.Condition()

    def wait() -> float:
        with condition:
            while clock.monotonic() < 7_200:
                clock.wait_until(condition, 7_200)
            return clock.monotonic()

    with ThreadPoolExecutor(4) as others:
        done = [others.submit(wait) for _ in range(4)]
        for _ in range(24):
            clock.advance(300)
        assert [future.result(PATIENCE) for future in done] == [7_200] * 4

    assert clock.now() == datetime(2030, 1, 1, 2, tzinfo=UTC)


def test_setting_wall_clock_back_keeps_monotonic() -> None:
    clock = FakeClock()
    before = clock.now()
    clock.advance(10)

    clock.set_wall_clock_back(3_600)

    assert clock.monotonic() == 10
    assert clock.now() == before + timedelta(seconds=10 - 3_600)


def test_wait_without_deadline_times_out() -> None:
    clock = FakeClock(patience=0.01)
    condition = threading.Condition()
    with condition, pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        clock.wait_until(condition, None)
    clock.advance(10)
    with condition:
        clock.wait_until(condition, 10)


_WAITER = """
import threading, time
from syft_flwr.clock import SystemClock
from syft_flwr.shutdown import ending_quietly
for _ in range(4):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
changed = threading.Condition()
with ending_quietly(), changed:
    print("waits", flush=True)
    while True:
        SystemClock().wait_until(changed, None)
"""


@pytest.mark.parametrize("continued", [(signal.SIGCONT, signal.SIGTERM), (signal.SIGTERM, signal.SIGCONT)])
def test_sigterm_of_a_process_that_was_stopped_ends_it(continued: tuple[signal.Signals, ...]) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _WAITER], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "waits\n"
                process.send_signal(signal.SIGSTOP)
                eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T", "the stop")
                for number in continued:
                    process.send_signal(number)
                assert process.wait(20) == 128 + signal.SIGTERM
            finally:
                process.kill()
