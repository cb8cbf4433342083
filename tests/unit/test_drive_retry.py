"""Retries of Drive calls, and the meaning of error responses."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from drivekit.accounts import JumpingClock, run_in_thread

from syft_flwr.errors import NotFoundError, QuotaError, RefusedError, TransportError, UnavailableError
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.refusals import Refusal, read_refusal
from syft_flwr.transport._gdrive.api.retry import CAP, Patience, RetryableError

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def failing(times: int, **arguments: object) -> Callable[[float], str]:
    """Return an attempt that fails the given number of times and then succeeds."""
    left = iter(range(times))

    def attempt(latest: float) -> str:
        if next(left, None) is None:
            return "done"
        raise RetryableError("no response", **arguments)  # type: ignore[arg-type]

    return attempt


def patience(clock: FakeClock) -> Patience:
    return Patience(clock, jitter=lambda: 0.5)


def test_waits_double_up_to_a_cap() -> None:
    clock = JumpingClock()
    assert patience(clock).run("call", 1e9, failing(10)) == "done"
    assert clock.waits == [1.5, 2.5, 4.5, 8.5, 16.5, 32.5, CAP - 0.5, CAP - 0.5, CAP - 0.5, CAP - 0.5]


def test_wait_has_a_random_part() -> None:
    clock = JumpingClock()
    for _ in range(20):
        Patience(clock).run("call", 60, failing(1))
    assert len(set(clock.waits)) == 20
    assert all(1 <= wait < 2 for wait in clock.waits)


def test_waits_draw_no_global_random_number() -> None:
    before = random.getstate()
    Patience(JumpingClock()).run("call", 60, failing(3))
    assert random.getstate() == before


def test_no_attempt_starts_after_the_limit() -> None:
    clock = JumpingClock()
    with pytest.raises(UnavailableError, match=r"call: no response") as error:
        patience(clock).run("call", 60, failing(100))
    assert clock.waits == [1.5, 2.5, 4.5, 8.5, 16.5]
    assert error.value.__cause__ is None


def test_progress_restarts_the_time_limit() -> None:
    clock = JumpingClock()
    reached = iter(range(1000))
    assert patience(clock).run("call", 10, failing(50), progress=lambda: next(reached)) == "done"
    assert set(clock.waits) == {1.5}


def test_requested_wait_may_exceed_the_cap() -> None:
    clock = JumpingClock()
    patience(clock).run("call", 300, failing(1, after=100.0))
    assert clock.waits == [100.5]


def test_requested_wait_of_zero_uses_the_default() -> None:
    clock = JumpingClock()
    patience(clock).run("call", 300, failing(2, after=0.0))
    assert clock.waits == [1.5, 2.5]


def test_rate_limit_delays_all_calls_of_account() -> None:
    clock = FakeClock()
    shared = patience(clock)
    with pytest.raises(UnavailableError):
        shared.run("call", 60, failing(1, rate=True, after=90.0))
    with pytest.raises(UnavailableError, match="slow down"):
        shared.run("other", 60, failing(0))
    clock.advance(91)
    assert shared.run("other", 60, failing(0)) == "done"


def test_server_error_does_not_delay_other_calls() -> None:
    clock = FakeClock()
    shared = patience(clock)
    with pytest.raises(UnavailableError):
        shared.run("call", 60, failing(1, after=90.0))
    assert shared.run("other", 60, failing(0)) == "done"


def test_success_resets_the_rate_limit_wait() -> None:
    clock = JumpingClock()
    shared = patience(clock)
    shared.run("call", 300, failing(3, rate=True))
    clock.waits.clear()
    # A success resets the wait.
    shared.run("call", 300, failing(1, rate=True))
    assert clock.waits == [1.5]


def test_simultaneous_rate_limits_count_once() -> None:
    clock = FakeClock()
    shared = patience(clock)
    for _ in range(5):
        with pytest.raises(UnavailableError):
            shared.run("call", 0.1, failing(1, rate=True))
    clock.advance(1.6)
    assert shared.run("call", 0.1, failing(0)) == "done"


def test_close_ends_every_wait() -> None:
    clock = FakeClock()
    shared = patience(clock)
    threads = [run_in_thread(lambda: shared.run("call", 60, failing(1))) for _ in range(3)]
    while len(clock._waiting) < 3:
        threads[0][0].join(0.005)
    shared.close()
    for thread, raised in threads:
        thread.join(5)
        assert "was closed" in str(raised[0])
    with pytest.raises(TransportError, match="was closed"):
        shared.run("call", 60, failing(0))


def test_final_error_is_not_retried() -> None:
    clock = JumpingClock()

    def attempt(latest: float) -> None:
        raise RefusedError("no")

    with pytest.raises(RefusedError):
        patience(clock).run("call", 60, attempt)
    assert clock.waits == []


# Error responses


def body(reason: str, **more: object) -> bytes:
    return json.dumps({"error": {"errors": [{"reason": reason, **more}]}}).encode()


@pytest.mark.parametrize(
    ("status", "text", "retryable", "rate"),
    [
        (500, b"", True, False),
        (503, b"<html>", True, False),
        (408, b"", True, False),
        (429, b"", True, True),
        (429, b"<html>", True, True),
        (429, body("rateLimitExceeded"), True, True),
        (429, body("quotaExceeded"), False, False),
        (403, body("userRateLimitExceeded"), True, True),
        (403, body("rateLimitExceeded"), True, True),
        (403, body("sharingRateLimitExceeded"), False, False),
        (403, body("insufficientFilePermissions"), False, False),
        (403, b"", False, False),
        (404, body("notFound"), False, False),
        (409, body("fileIdInUse"), False, False),
        (400, b"\xff\xfe", False, False),
    ],
)
def test_status_decides_whether_to_retry(status: int, text: bytes, retryable: bool, rate: bool) -> None:
    refusal = read_refusal(status, {}, text, NOW)
    assert (refusal.retryable, refusal.rate) == (retryable, rate)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b'{"error": 5}',
        b'{"error": {"errors": 5}}',
        b'{"error": {"errors": [5]}}',
        b"{",
        b"[" * 100000,
        b'{"error": {"errors": [{"reason": {}}]}}',
        b'{"error": {"errors": [{"location": 3}]}}',
    ],
)
def test_foreign_error_body_gives_no_reason(text: bytes) -> None:
    refusal = read_refusal(403, {}, text, NOW)
    assert refusal == Refusal(403)
    assert isinstance(refusal.error("call"), RefusedError)


def test_invalid_reason_is_not_shown() -> None:
    secret = "ya29.secret token"
    refusal = read_refusal(400, {}, body(secret, location=secret), NOW)
    assert secret not in str(refusal.error("call"))
    assert "HTTP 400" in str(refusal.error("call"))


def test_detail_overrides_the_reason() -> None:
    text = json.dumps(
        {"error": {"errors": [{"reason": "forbidden"}], "details": [{"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}
    )
    assert "does not allow" in str(read_refusal(403, {}, text.encode(), NOW).error("call"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Tue, 01 Jan 2030 00:01:00 GMT", 60.0),
        ("Tue, 01 Jan 2030 02:01:00 +0200", 60.0),
        ("Tue, 01 Jan 2030 00:01:00", 60.0),
        ("Tue, 01 Jan 2020 00:01:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("1e99", None),
        ("9" * 30, None),
        ("soon", None),
        ("Tue, 99 Jan 2030 00:01:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert read_refusal(503, {"retry-after": value}, b"", NOW).after == seconds


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (403, RefusedError), (400, TransportError), (410, TransportError)]
)
def test_status_alone_selects_the_error(status: int, kind: type[TransportError]) -> None:
    assert type(Refusal(status).error("call")) is kind


def test_quota_hint_names_the_reset_time() -> None:
    error = Refusal(403, ("dailyLimitExceeded",)).error("call")
    assert isinstance(error, QuotaError)
    assert error.transient
    assert "midnight" in error.hint
