"""The view of a run: who is awaited since when, at what work, and when the wait ends."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import (
    AggregatorHeard,
    Beat,
    Event,
    Heard,
    LoggedWarning,
    Metrics,
    NodesAwaited,
    ReplyProgress,
    ReplyReleased,
    RequestEnded,
    RequestHeld,
    RequestProgress,
    RequestReceived,
    RequestSent,
    RequestStarted,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    Seen,
    Silent,
    Waiting,
)
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.peer_view import PeerView
from syft_flwr.runs.view import RunView, view_of

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
ONE, TWO = "a" * 32, "b" * 32
DS, DO = "ds@x.org", "do@y.org"
STARTED = RunStarted("aggregator", "app", DS)
SENT = RequestSent(ONE, DO, "train", "1", bytes=2_000_000)
RECEIVED = RequestReceived(ONE, DS, "train", "1", bytes=700)


def view(*events: Event, after: float = 0.0, **known: Any) -> RunView:
    """Return the view of these events, one each second, ``after`` seconds after the last one."""
    account = RunAccount()
    for n, event in enumerate(events):
        time = NOW + timedelta(seconds=n)
        account.add(RecordEntry(n + 1, time, float(n), "9f3a01bc", 7, event.name, fields_of(event)))
    now = NOW + timedelta(seconds=len(events) - 1 + after)
    return view_of(account, now, run="7", app="app", participant=DS, **known)


def owner(*events: Event, after: float = 0.0) -> PeerView:
    """Return the view of the data owner of a run with a request to it."""
    (peer,) = view(STARTED, SENT, *events, after=after).peers
    return peer


def cells(*events: Event, after: float = 0.0) -> tuple[str, ...]:
    shown = view(STARTED, SENT, *events, after=after)
    (row,) = (peer.as_row(shown.now) for peer in shown.peers)
    return row


@pytest.mark.parametrize(
    ("events", "seen", "doing"),
    [
        ((), "not seen yet", "train request sent for 4s"),
        ((Seen(DO),), "online, 4s ago", "train request sent for 5s"),
        ((Seen(DO), RequestHeld(ONE, DO, "waiting")), "online, 5s ago", "has the train request for 4s"),
        ((Seen(DO), RequestHeld(ONE, DO, "running")), "online, 5s ago", "works on train for 4s"),
        (
            (Seen(DO), RequestProgress(ONE, DO, 3, 10, 30_000_000, 100_000_000)),
            "online, 5s ago",
            "train: 3 of 10 parts of the request arrived (30 MB of 100 MB) for 6s",
        ),
        (
            (RequestHeld(ONE, DO, "running"), ReplyProgress(ONE, DO, 1, 2)),
            "not seen yet",
            "train: 1 of 2 parts of the reply arrived for 5s",
        ),
        ((Silent(DO),), "silent, never seen", "train request sent for 5s"),
        ((Seen(DO), *[Beat()] * 61), "online, 1m 5s ago", "train request sent for 1m 6s"),
        ((Seen(DO), *[Beat()] * 62), "seen 1m 6s ago", "train request sent for 1m 7s"),
        ((Seen(DO), Silent(DO)), "silent, 5s ago", "train request sent for 6s"),
        ((Seen(DO), Silent(DO), Heard([DO])), "online, 4s ago", "train request sent for 7s"),
        ((Seen(DO), RequestEnded(ONE, DO, "train", "answered")), "online, 5s ago", "idle"),
        ((RequestEnded(ONE, DO, "train", "answered", bytes=9),), "online, 4s ago", "idle"),
        ((Silent(DO), RequestEnded(ONE, DO, "train", "failed", bytes=9)), "online, 4s ago", "idle"),
        ((RequestEnded(ONE, DO, "train", "answered", bytes=9, replayed=True),), "not seen yet", "idle"),
    ],
)
def test_data_owner_is_shown_with_its_work(events: tuple[Event, ...], seen: str, doing: str) -> None:
    assert cells(*events, after=4)[:3] == (DO, seen, doing)


def test_counts_failures_and_bytes_are_shown() -> None:
    failed = RequestEnded(ONE, DO, "train", "failed", "1", reason="app-raised", text="ValueError", bytes=1500)
    assert cells(failed)[3:] == ("0 of 1", "1: app-raised", "2.0 MB", "1.5 KB")


def test_most_advanced_request_is_shown() -> None:
    second = RequestSent(TWO, DO, "evaluate", "1")
    assert owner(second, RequestHeld(TWO, DO, "running")).doing == "works on evaluate"


def test_wait_names_its_end_and_its_limit() -> None:
    until = (NOW + timedelta(minutes=5)).isoformat()
    waiting = Waiting([DO], until, "msg_timeout")

    shown = view(STARTED, SENT, waiting, *[Beat()] * 58)

    assert shown.wait() == f"Waits for {DO} for 59s; the wait ends in 4m 0s (msg_timeout, the longest silence)"
    ended = view(STARTED, SENT, waiting, *[Beat()] * 300)
    assert ended.wait().endswith("; the wait ends now (msg_timeout, the longest silence)")
    assert view(STARTED, SENT, waiting, after=58).state == "silent"
    assert view(STARTED, SENT, waiting, after=58).wait() == f"Waits for {DO} for 59s"
    both = (STARTED, SENT, RequestSent(TWO, "b@x.org", "train", "1"))
    assert view(*both).wait() == "Waits for 2 data owners for 1s"


def test_end_of_an_earlier_wait_is_not_shown() -> None:
    until = (NOW + timedelta(minutes=5)).isoformat()
    first = (STARTED, SENT, Waiting([DO], until, "msg_timeout"), RequestEnded(ONE, DO, "train", "answered"))
    both = (RequestSent(TWO, DO, "train", "2"), RequestSent("c" * 32, "b@x.org", "train", "2"))

    shown = view(*first, *both)

    assert shown.wait() == "Waits for 2 data owners for 1s"
    assert (shown.until, shown.limit) == (None, "")
    assert "the wait ends in" in view(*first, *both, Waiting([DO, "b@x.org"], until, "msg_timeout")).wait()


def test_request_without_a_key_is_a_wait_of_its_owner() -> None:
    other, until = "b@x.org", (NOW + timedelta(minutes=5)).isoformat()
    waiting = Waiting([DO, other], until, "timeout", [other])

    shown = view(STARTED, SENT, waiting, waiting, *[Beat()] * 58)

    assert shown.peers[0].as_row(shown.now)[:4] == (other, "not seen yet", "its key is awaited for 59s", "0 of 0")
    assert shown.wait().startswith("Waits for 2 data owners for 1m 0s; the wait ends in")
    assert view(STARTED, waiting, after=5).wait().startswith(f"Waits for {other} for 5s; the wait ends in")
    sent = view(STARTED, SENT, waiting, RequestSent(TWO, other, "train", "1"), after=3)
    assert sent.peers[0].as_row(sent.now)[2:4] == ("train request sent for 3s", "0 of 1")


@pytest.mark.parametrize(
    "end",
    [
        RequestEnded(TWO, DO, "train", "failed", reason="no-key", text="no key"),
        Waiting([DO], "", "ttl"),
        RunEnded("failed", "no replies"),
        STARTED,
    ],
)
def test_wait_for_a_key_ends(end: Event) -> None:
    shown = view(STARTED, Waiting([DO], "", "ttl", [DO]), end)
    assert (shown.awaited, shown.wait()) == ((), "")


@pytest.mark.parametrize("until", ["tomorrow", "2030-01-01T00:00:00", "9999-12-31T23:59:59-12:00", 7])
def test_unreadable_end_of_a_wait_is_no_limit(until: object) -> None:
    account = RunAccount()
    for event in (STARTED, SENT):
        account.add(RecordEntry(1, NOW, 0.0, "9f3a01bc", 7, event.name, fields_of(event)))
    account.add(RecordEntry(2, NOW, 0.0, "9f3a01bc", 7, "waiting", {"data_owners": [DO], "until": until}))

    assert view_of(account, NOW, run="7", app="app", participant=DS).until is None


def test_run_before_its_first_request_tells_so() -> None:
    assert view(STARTED).wait() == "No request was sent yet"
    assert view(STARTED, RunEnded("failed")).wait() == ""
    assert view(RunStarted("datasite", "app", DS)).wait() == "", "its aggregator is known"


def test_wait_for_clients_is_told_until_the_first_request() -> None:
    waits = view(STARTED, NodesAwaited(0, 2), NodesAwaited(1, 2), after=8)
    assert waits.wait() == "Waits for clients for 9s: 1 of 2 needed data owners online; no limit ends this wait"
    assert "`syft-flwr client`" in waits.next_step()
    assert (waits.as_fields()["nodes-online"], waits.as_fields()["nodes-needed"]) == (1, 2)
    for event in (SENT, RunEnded("failed", "c"), RunResumed("aggregator", "app", DS)):
        later = view(STARTED, NodesAwaited(1, 2), event)
        assert "clients" not in later.wait()
        assert later.as_fields()["nodes-needed"] is None


def test_wait_is_over_with_its_last_request() -> None:
    shown = view(STARTED, SENT, Waiting([DO]), RequestEnded(ONE, DO, "train", "answered"))
    assert (shown.wait(), shown.awaited, shown.until) == ("", (), None)


@pytest.mark.parametrize(
    ("events", "after", "known", "state"),
    [
        ((STARTED,), 14, {}, "running"),
        ((STARTED,), 16, {}, "silent"),
        ((STARTED, Beat()), 14, {}, "running"),
        ((STARTED,), 0, {"is_served": False}, "interrupted"),
        ((STARTED,), 99, {"is_served": False}, "interrupted"),
        ((STARTED, RunEnded("failed", "why")), 99, {}, "failed"),
        ((STARTED,), 99, {"state": "stopped"}, "stopped"),
        ((STARTED,), -3600, {}, "running"),
    ],
)
def test_state_of_a_run(events: tuple[Event, ...], after: float, known: dict[str, Any], state: str) -> None:
    assert view(*events, after=after, **known).state == state


def test_headline_tells_round_state_and_cause() -> None:
    begun = (STARTED, RoundStarted("2", 5))
    assert view(*begun).headline() == f"Run 7 of app, aggregator {DS}: running for 1s, round 2 of 5"
    assert view(*begun, after=60).headline().endswith(": silent for 1m 0s, round 2 of 5")
    ended = view(*begun, RunEnded("failed", "all replies failed"), after=3600)
    at = f"{NOW + timedelta(seconds=2):%Y-%m-%d} "
    assert re.search(rf": failed after 2s, at {at}\S+, round 2 of 5 \(all replies failed\)$", ended.headline())
    gone = view(*begun, after=3600, is_served=False)
    assert re.search(rf": interrupted after 1s, at {at}\S+, round 2 of 5$", gone.headline())


def test_round_of_an_unknown_number_has_no_total() -> None:
    assert view(RunStarted("datasite", "app", DS), RECEIVED).headline().endswith("running for 1s, round 1")
    assert view(STARTED).headline().endswith("running for 0s")


@pytest.mark.parametrize(
    ("role", "known", "place", "step"),
    [
        ("aggregator", {"is_served": False}, {}, "Start `syft-flwr server` again to continue the run."),
        ("datasite", {"is_served": False}, {}, "Start `syft-flwr client` again to continue the run."),
        ("aggregator", {"is_served": False}, {"is_local": True}, "A local run cannot be continued: start it again."),
        ("datasite", {"after": 60.0}, {}, "Continue a stopped process with `kill -CONT`."),
        ("aggregator", {"state": "failed"}, {"has_log": True}, "Read its log: `syft-flwr logs 7`."),
        ("aggregator", {"state": "failed"}, {}, ""),
        ("aggregator", {"state": "completed"}, {"has_log": True}, ""),
        ("aggregator", {}, {}, ""),
    ],
)
def test_next_step_of_the_user_is_told(role: str, known: dict[str, Any], place: dict[str, bool], step: str) -> None:
    shown = replace(view(RunStarted(role, "app", DS), **known), **place)
    assert shown.next_step().endswith(step)
    assert shown.as_fields()["next-step"] == (shown.next_step() or None)
    assert bool(shown.next_step()) == bool(step)


def test_silent_data_owners_are_named_with_a_check() -> None:
    both = (STARTED, SENT, RequestSent(TWO, "b@x.org", "train", "1"), Silent("b@x.org"))
    assert view(*both).next_step() == "No heartbeat of b@x.org: ask its user whether `syft-flwr client` runs there."
    assert "b@x.org and 1 more: " in view(*both, Silent(DO)).next_step()
    assert view(*both, Silent(DO), RunEnded("completed")).next_step() == ""


def test_failures_are_lines_of_a_bounded_number() -> None:
    def failed(number: int) -> Event:
        reason = {"reason": "app-raised", "text": f"ValueError {number}"}
        return RequestEnded(f"{number:032}", f"do{number}@y.org", "train", "failed", "1", **reason)  # type: ignore[arg-type]

    assert view(STARTED, failed(1), failed(2)).failures() == (
        "1 request to do1@y.org failed, the latest: app-raised: ValueError 1",
        "1 request to do2@y.org failed, the latest: app-raised: ValueError 2",
    )
    assert view(STARTED, *map(failed, range(5))).failures()[3:] == ("2 more participants have failures",)
    warned = LoggedWarning("warning", "do1@y.org has failed: app-raised: ValueError 1")
    assert view(STARTED, failed(1), warned).failures() == (), "the warning tells it"
    ended = view(STARTED, failed(1), warned, RunEnded("failed"))
    assert len(ended.failures()) == 1, "an ended run shows no warning"


def test_bytes_of_an_earlier_process_stay_in_the_sum() -> None:
    again = RequestSent(ONE, DO, "train", "1", bytes=0, replayed=True)
    resumed = (STARTED, SENT, RunResumed("aggregator", "app", DS, resumed=1), again)
    assert view(*resumed).peers[0].bytes_sent == 2_000_000
    assert view(*resumed, RequestSent(TWO, DO, "train", "2", bytes=50)).peers[0].bytes_sent == 2_000_050
    assert view(*resumed).peers[0].asked == 1


def test_ended_run_shows_no_presence_and_no_work() -> None:
    shown = view(STARTED, SENT, Seen(DO), RunEnded("stopped"))
    seen = (NOW + timedelta(seconds=2)).astimezone()
    assert shown.peers[0].as_row(shown.now)[1] == f"{seen:%Y-%m-%d %H:%M:%S}"
    assert [(peer.presence, peer.doing, peer.since) for peer in shown.peers] == [("", "", None)]


def test_data_owner_sees_its_aggregator_and_its_work() -> None:
    begun = (RunStarted("datasite", "app", DS), RECEIVED, AggregatorHeard(DS))
    shown = view(*begun, RequestStarted(ONE), after=8)
    (peer,) = shown.peers
    assert peer.as_row(shown.now) == (DS, "online, 9s ago", "train runs for 8s", "0 of 1", "0", "0 B", "700 B")

    released = view(
        *begun, RequestStarted(ONE), ReplyReleased(ONE, DS, "failed", reason="app-raised", text="no", bytes=9)
    )
    (peer,) = released.peers
    assert peer.as_row(released.now)[2:6] == ("idle", "0 of 1", "1: app-raised", "9 B")


@pytest.mark.parametrize(
    ("msg_timeout", "after", "presence"),
    [("120.0", 35, "online"), ("120.0", 36, "seen"), ("20", 11, "seen"), ("none", 65, "online"), ("x", 66, "seen")],
)
def test_late_heartbeat_is_told_by_its_interval(msg_timeout: str, after: float, presence: str) -> None:
    begun = RunStarted("aggregator", "app", DS, settings={"msg_timeout": msg_timeout})
    (peer,) = view(begun, SENT, Seen(DO), after=after).peers
    assert peer.presence == peer.as_fields()["presence"] == presence
    assert peer.as_row(NOW)[1].startswith(presence)


def test_completed_run_tells_its_losses_and_its_refusal() -> None:
    failed = RequestEnded(ONE, DO, "train", "failed", "1", reason="app-raised", text="ValueError")
    losses = [Loss(DO, "train", "app-raised", 1).as_fields()]
    lossy = view(STARTED, SENT, failed, RunEnded("completed", losses=losses))
    assert ": completed, with losses after 3s, at " in lossy.headline()
    assert lossy.headline().endswith(f"(losses: {DO}: 1 train app-raised, and no good reply)")
    assert (lossy.as_fields()["succeeded"], lossy.next_step()) == (True, "")

    refused = view(STARTED, SENT, failed, RunEnded("completed", f"{DO} gave no good reply"))
    assert ": completed, but counts as a failure after 3s" in refused.headline()
    assert refused.as_fields()["succeeded"] is False
    known = replace(refused, is_local=True, has_log=True)
    assert known.next_step() == f"Read its log: `syft-flwr logs 7 --email {DO}`."
    assert view(STARTED, RunEnded("completed")).as_fields()["succeeded"] is True


def test_event_after_the_end_does_not_move_it() -> None:
    late = RequestEnded(ONE, DO, "train", "failed", "1", reason="stopped")
    ended = view(STARTED, RunEnded("stopped"), Beat(), late)
    assert ": stopped after 1s, at " in ended.headline()


def test_quiet_aggregator_is_silent_after_ten_minutes() -> None:
    begun = RunStarted("datasite", "app", DS)
    assert view(begun).peers[0].presence == "not seen yet"
    shown = view(begun, RECEIVED, Beat(), after=60)
    assert shown.peers[0].presence == "online", "a request is a sign of it"
    shown = view(begun, RECEIVED, Beat(), after=590)
    assert shown.peers[0].as_row(shown.now)[1] == "seen 9m 51s ago"
    assert view(begun, AggregatorHeard(DS), Beat(), after=700).peers[0].presence == "silent"


def test_latest_metrics_of_each_source_are_shown() -> None:
    metrics = (
        Metrics("1", "train", {"loss": 0.5}),
        Metrics("2", "train", {"loss": 0.25, "n": 3}),
        Metrics("2", "central", {"accuracy": 1.0}),
    )
    assert view(STARTED, *metrics).latest_metrics() == "train (round 2): loss 0.25, n 3; central (round 2): accuracy 1"


def test_latest_warning_is_one_line_until_the_run_ends() -> None:
    first, second = LoggedWarning("warning", "the first"), LoggedWarning("error", "no key\n  Ask do@y.org." + "x" * 800)

    shown = view(STARTED, first, second, after=3).warning()

    assert shown.startswith("2 warnings, the latest 3s ago: no key Ask do@y.org.x")
    assert len(shown) < 550
    assert view(STARTED).warning() == ""
    assert view(STARTED, first, is_served=False).warning() == "1 warning, the latest 0s ago: the first"
    assert view(STARTED, first, RunEnded("completed")).warning() == ""
    assert view(STARTED, first).as_fields()["last-warning"] == "the first"


def test_fields_are_json_and_complete() -> None:
    import json

    shown = view(STARTED, SENT, RequestProgress(ONE, DO, 1, 2), Waiting([DO], NOW.isoformat(), "ttl"))
    fields = json.loads(json.dumps(shown.as_fields()))

    assert (fields["role"], fields["state"], fields["awaited"], fields["limit"]) == (
        "aggregator",
        "running",
        [DO],
        "ttl",
    )
    assert fields["wait-ends"] == NOW.isoformat()
    (peer,) = fields["participants"]
    assert peer["transfer"] == {"of": "request", "arrived": 1, "total": 2, "bytes": 0, "total-bytes": 0}
    assert (peer["email"], peer["asked"], peer["bytes-sent"]) == (DO, 1, 2_000_000)


@pytest.mark.parametrize("number", [10**400, -(10**400), True, 1.5, [1], None])
def test_number_that_no_writer_gives_counts_as_zero(number: object) -> None:
    account = RunAccount()
    for n, event in enumerate((STARTED, SENT, RequestEnded(ONE, DO, "train", "1", "answered"))):
        damaged = fields_of(event) | ({"bytes": number} if n else {})
        account.add(RecordEntry(n + 1, NOW, float(n), "9f3a01bc", 7, event.name, damaged))
    shown = view_of(account, NOW, run="7", app="app", participant=DS)

    assert [peer.as_row(NOW)[-2:] for peer in shown.peers] == [("0 B", "0 B")]
