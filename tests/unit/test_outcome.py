"""The outcome of a run: each cell of the table of outcomes, and its text."""

from collections.abc import Callable

import pytest

from syft_flwr._store.futures import ReplyCount
from syft_flwr._store.states import RunState
from syft_flwr.runs.outcome import STOP_REASONS, AppEnd, Loss, end_of, judge, losses_of
from syft_flwr.shutdown import Terminated

ONE, TWO = "do1@x.org", "do2@x.org"
COMPLETED, FAILED, STOPPED = RunState.COMPLETED, RunState.FAILED, RunState.STOPPED


def good(owner: str = ONE, kind: str = "train", count: int = 1) -> ReplyCount:
    return ReplyCount(owner, kind, "", count)


def bad(owner: str = ONE, kind: str = "train", count: int = 1, reason: str = "app-raised") -> ReplyCount:
    return ReplyCount(owner, kind, reason, count)


@pytest.mark.parametrize(
    "replies",
    [
        [],
        [good(), good(TWO)],
        [good(), bad(TWO, reason="late")],
        [good(), bad(TWO, reason="stopped")],
    ],
)
def test_run_without_losses_is_completed(replies: list[ReplyCount]) -> None:
    outcome = judge(replies)

    assert (outcome.state, outcome.cause, outcome.losses) == (COMPLETED, "", ())
    assert (outcome.refusal(strict=True, everyone=True), outcome.summary) == ("", "was completed")


@pytest.mark.parametrize("reason", ["app-raised", "app-load", "worker-died", "no-answer", "integrity", "app-error"])
def test_some_losses_leave_the_run_completed(reason: str) -> None:
    outcome = judge([good(count=2), good(TWO), bad(TWO, count=3, reason=reason)])

    assert (outcome.state, outcome.cause) == (COMPLETED, "")
    assert outcome.losses == (Loss(TWO, "train", reason, 3, 1),)
    assert outcome.summary == f"was completed, with losses: {TWO}: 3 train {reason}"
    assert (outcome.refusal(), outcome.refusal(everyone=True)) == ("", "")
    assert outcome.refusal(strict=True) == f"strict is set, and there were losses: {TWO}: 3 train {reason}"


def test_owner_without_a_good_reply_is_refused_if_all_count() -> None:
    # It gave good replies of another kind.
    outcome = judge([good(), bad(TWO, count=2), good(TWO, "evaluate")])

    assert outcome.state is COMPLETED
    assert outcome.refusal() == ""
    refusal = f"a data owner gave no good reply: {TWO}: 2 train app-raised, and no good reply"
    assert outcome.refusal(everyone=True) == refusal


@pytest.mark.parametrize(
    "replies",
    [
        [bad(), bad(TWO)],
        [bad(), bad(TWO), good(kind="evaluate"), good(TWO, "evaluate")],
        [bad(), bad(TWO, reason="late")],
        [bad(), bad(TWO, reason="stopped")],
    ],
)
def test_kind_without_a_good_reply_fails_the_run(replies: list[ReplyCount]) -> None:
    outcome = judge(replies)

    assert outcome.state is FAILED
    assert outcome.cause.startswith("no good reply to ")
    assert f"{ONE}: 1 train app-raised, and no good reply" in outcome.cause
    assert outcome.refusal() == outcome.cause


def test_suffix_of_a_type_makes_another_kind() -> None:
    assert judge([good(kind="query.size"), bad(kind="query.mean")]).state is FAILED


@pytest.mark.parametrize(
    ("error", "state", "cause"),
    [
        (None, COMPLETED, ""),
        (SystemExit(), COMPLETED, ""),
        (SystemExit(0), COMPLETED, ""),
        (SystemExit(3), FAILED, "the ServerApp ended itself with exit code 3"),
        (SystemExit(True), FAILED, "the ServerApp ended itself with exit code 1"),
        # The same codes as after a signal, but the app chose them.
        (SystemExit(143), FAILED, "the ServerApp ended itself with exit code 143"),
        (SystemExit("diverged\n"), FAILED, "the ServerApp ended itself: diverged "),
        (SystemExit(""), FAILED, "the ServerApp ended itself: "),
        # The text may contain private data.
        (ValueError("secret"), FAILED, "the ServerApp raised ValueError"),
        (GeneratorExit(), FAILED, "the ServerApp raised GeneratorExit"),
        (KeyboardInterrupt(), STOPPED, "interrupted"),
        (Terminated(143), STOPPED, "interrupted"),
    ],
)
def test_end_of_the_app_decides_before_the_replies(error: BaseException | None, state: RunState, cause: str) -> None:
    outcome = judge([good(), bad(TWO)], end_of(error))

    assert (outcome.state, outcome.cause) == (state, cause)
    assert outcome.losses == (Loss(TWO, "train", "app-raised", 1),)


def test_failed_kind_decides_after_a_normal_exit() -> None:
    assert judge([bad()], end_of(SystemExit(0))).state is FAILED


def test_text_of_an_exit_is_bounded() -> None:
    assert len(end_of(SystemExit("x" * 10_000)).failure) < 300


@pytest.mark.parametrize("make", [lambda outcome: outcome.cause, lambda outcome: outcome.summary])
def test_line_of_many_losses_is_bounded(make: Callable[[object], str]) -> None:
    owners = [f"{'o' * 60}{number}@{'h' * 150}.org" for number in range(200)]
    outcome = judge([bad(owner) for owner in owners])

    assert len(outcome.losses) == 200
    assert len(make(outcome)) < 600
    assert make(outcome).endswith("; and 195 more")


def test_worst_losses_come_first() -> None:
    losses = losses_of([good(ONE), bad(ONE, count=9), bad(TWO, count=1), bad(TWO, "evaluate", count=4)])

    assert [(loss.data_owner, loss.count) for loss in losses] == [(TWO, 4), (TWO, 1), (ONE, 9)]


def test_stop_tells_the_state_of_the_run() -> None:
    outcomes = judge([good()]), judge([bad()]), judge([], AppEnd(interruption="interrupted"))

    assert [outcome.stop_reason for outcome in outcomes] == ["Server stopped", "Server failed", "Server interrupted"]
    assert STOP_REASONS.keys() == set(RunState) - {RunState.RUNNING}


def test_kind_without_one_reply_fails_the_run() -> None:
    """The app itself did not wait for any of them."""
    outcome = judge([bad(reason="stopped"), bad(TWO, reason="stopped")])

    assert (outcome.state, outcome.losses) == (FAILED, ())
    assert outcome.cause == "the ServerApp ended without one reply to its train requests"


def test_cause_names_each_kind_without_a_good_reply() -> None:
    outcome = judge([bad(), bad(TWO), bad(kind="evaluate")])

    assert outcome.cause.startswith("no good reply to 2 train requests and 1 evaluate request: ")
