"""The account of a run: the counts, failures and metrics of its events, also over restarts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.runs.account import FailedRequest, RunAccount
from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import (
    CONTROL,
    EVENTS,
    Event,
    Heard,
    LoggedWarning,
    Lost,
    Metrics,
    ReplyReleased,
    RequestClosed,
    RequestEnded,
    RequestHeld,
    RequestReceived,
    RequestSent,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    Seen,
)
from syft_flwr.runs.outcome import Loss

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
ONE, TWO = "a" * 32, "b" * 32
DS, DO = "ds@x.org", "do@y.org"


def account_of(*events: Event) -> RunAccount:
    """Return the account of these events, which are a minute apart."""
    account = RunAccount()
    for n, event in enumerate(events):
        time = NOW + timedelta(minutes=n)
        account.add(RecordEntry(n + 1, time, float(n), "9f3a01bc", 7, event.name, fields_of(event)))
    return account


def counts(account: RunAccount) -> tuple[int, int, int]:
    return account.asked, account.answered, account.failed


def kinds(account: RunAccount) -> dict[str, str]:
    return {message: request.kind for message, request in account.open.items()}


def sent(message: str = ONE, kind: str = "train") -> RequestSent:
    return RequestSent(message, DO, kind, "3")


def ended(message: str = ONE, kind: str = "train", outcome: str = "answered", **fields: Any) -> RequestEnded:
    return RequestEnded(message, DO, kind, outcome, "3", **fields)


def released(message: str = ONE, outcome: str = "answered", server_round: str = "3") -> ReplyReleased:
    return ReplyReleased(message, DS, outcome, server_round)


STARTED = RunStarted("aggregator", "app", DS)
SERVES = RunStarted("datasite", "app", DS)


def test_empty_account_has_no_state() -> None:
    account = RunAccount()
    assert (account.state, account.has_ended, account.started, account.updated) == ("", False, None, None)


def test_run_is_running_until_its_end() -> None:
    running = account_of(STARTED)
    assert (running.state, running.app, running.role, running.has_ended) == ("running", "app", "aggregator", False)

    over = account_of(STARTED, sent(), RunEnded("failed", "why"))
    assert (over.state, over.cause, over.has_ended, over.open) == ("failed", "why", True, {})
    assert (over.started, over.updated) == (NOW, NOW + timedelta(minutes=2))


def test_requests_of_the_aggregator_are_counted() -> None:
    failure = ended(TWO, outcome="failed", reason="app-raised", text="it raised")
    account = account_of(STARTED, sent(), sent(TWO, "evaluate"), ended(), failure, sent("c" * 32))

    assert counts(account) == (3, 1, 1)
    assert kinds(account) == {"c" * 32: "train"}
    owner = account.owners[DO]
    assert (owner.asked, owner.answered, owner.failed) == (3, 1, 1)
    assert owner.last_failure == "app-raised: it raised"
    assert list(account.failures) == [FailedRequest(TWO, DO, "3", "app-raised", "it raised")]
    assert str(account.failures[0]) == "do@y.org in round 3: app-raised: it raised"


def test_awaited_data_owner_has_its_work_and_last_heartbeat() -> None:
    held = RequestHeld(ONE, DO, "running")
    owner = account_of(STARTED, sent(), Seen(DO), held, Heard([DO, "other@z.org"])).owners[DO]
    minutes = [NOW + timedelta(minutes=number) for number in range(6)]
    assert owner.awaited_since == minutes[1]
    assert owner.working_on == ("train", minutes[3])
    assert owner.last_heartbeat == minutes[4]

    owner = account_of(STARTED, sent(), held, ended(), sent(TWO)).owners[DO]
    assert (owner.awaited_since, owner.working_on) == (minutes[4], None)

    owner = account_of(STARTED, sent(), held, RunEnded("stopped", "interrupted")).owners[DO]
    assert (owner.awaited_since, owner.working_on) == (None, None)


def test_control_messages_are_no_requests() -> None:
    aggregator = account_of(STARTED, sent(kind=CONTROL), ended(kind=CONTROL), ended(TWO, CONTROL, "failed"))
    assert (counts(aggregator), aggregator.owners, list(aggregator.failures)) == ((0, 0, 0), {}, [])

    control = RequestReceived(ONE, DS, CONTROL, "final")
    owner = account_of(SERVES, control, released(server_round="final"), released(), RequestClosed(ONE))
    assert (counts(owner), owner.open, owner.round) == ((0, 0, 0), {}, "")


def test_request_without_event_of_its_sending_counts_as_asked() -> None:
    assert counts(account_of(STARTED, ended(outcome="failed", reason="storage-full"))) == (1, 0, 1)


def test_resume_starts_the_counts_of_the_aggregator_again() -> None:
    resumed = RunResumed("aggregator", "app", DS, resumed=2)
    before = (STARTED, sent(), ended(), sent(TWO), ended(TWO, outcome="failed", reason="late"))

    account = account_of(*before, resumed, sent(), ended())

    assert counts(account) == (1, 1, 0)
    assert (account.resumed, account.started, list(account.failures)) == (2, NOW, [])
    assert account.owners[DO].failed == 0


def test_resume_keeps_the_bytes_of_the_aggregator() -> None:
    resumed = RunResumed("aggregator", "app", DS, resumed=1)
    first = (RequestSent(ONE, DO, "train", "3", bytes=500), ended(bytes=300))
    kept = (RequestSent(ONE, DO, "train", "3", replayed=True), ended(replayed=True))

    owner = account_of(STARTED, *first, resumed, *kept).owners[DO]

    assert (owner.bytes_sent, owner.bytes_received, owner.answered) == (500, 300, 1)


def test_resume_keeps_the_counts_of_a_data_owner() -> None:
    before = (SERVES, RequestReceived(ONE, DS, "train", "3"), released())
    resumed = RunResumed("datasite", "app", DS, resumed=1)

    account = account_of(*before, resumed, released(), RequestReceived(TWO, DS, "train", "4"))

    assert (counts(account), account.resumed, account.round) == ((2, 1, 0), 1, "4")
    assert kinds(account) == {TWO: "train"}


def test_reply_that_is_released_twice_counts_once() -> None:
    received = RequestReceived(ONE, DS, "train", "3")
    account = account_of(
        SERVES, received, released(), released(), RequestClosed(ONE), received, released(outcome="failed")
    )

    assert counts(account) == (2, 1, 1)


def test_rounds_and_their_number_are_known() -> None:
    account = account_of(STARTED, RoundStarted("1", 3), RoundStarted("2"))
    assert (account.round, account.total_rounds) == ("2", 3)


def test_metrics_are_kept_by_source_and_round() -> None:
    account = account_of(
        STARTED,
        Metrics("1", "train", {"loss": 2.0}),
        Metrics("1", "train", {"f1": 1}),
        Metrics("2", "central", {"a": 1}),
    )
    assert account.metrics == {"train": {"1": {"loss": 2.0, "f1": 1}}, "central": {"2": {"a": 1}}}


def test_warnings_and_losses_are_counted() -> None:
    account = account_of(STARTED, LoggedWarning("error", "x"), Lost(3, "queue"), Lost(2, "record"))
    assert (account.warnings, account.lost) == (1, 5)


def test_only_the_latest_failures_are_kept() -> None:
    account = account_of(STARTED, *(ended(f"{n:032x}", outcome="failed", reason="no-answer") for n in range(150)))
    assert (account.failed, len(account.failures)) == (150, 100)
    assert account.failures[-1].message == f"{149:032x}"


@pytest.mark.parametrize("reason", ["late", "stopped"])
def test_reply_not_waited_for_is_no_failure(reason: str) -> None:
    aggregator = account_of(STARTED, sent(), ended(outcome="failed", reason=reason))
    owner = account_of(SERVES, RequestReceived(ONE, DS, "train"), ReplyReleased(ONE, DS, "failed", reason=reason))

    assert (counts(aggregator), aggregator.losses) == ((1, 0, 0), ())
    assert counts(owner) == (1, 0, 0)


def test_losses_are_counted_until_the_run_ends() -> None:
    events = [STARTED, sent(ONE), ended(ONE), sent(TWO), ended(TWO, outcome="failed", reason="app-raised")]

    assert account_of(*events).losses == (Loss(DO, "train", "app-raised", 1, 1),)


def test_end_of_the_run_has_the_final_losses() -> None:
    final = Loss(DO, "train", "app-raised", 7, 1)
    events = [STARTED, sent(ONE), ended(ONE), RunEnded("completed", losses=[final.as_fields(), {"of": "another form"}])]

    assert account_of(*events).losses == (final,)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
NAMES = sorted({name for kind in EVENTS.values() for name in kind.__dataclass_fields__})


@pytest.mark.parametrize("event", [*sorted(EVENTS), "of-the-future", "add", "-owner"])
@given(found=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_fields_of_any_form_are_tolerated(event: str, found: dict[str, Any]) -> None:
    account = RunAccount()
    account.add(RecordEntry(1, NOW, 1.0, "9f3a01bc", 7, event, found))
    assert account.updated == NOW
