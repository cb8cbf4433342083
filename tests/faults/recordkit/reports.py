"""Checks the report of a run against the events of its record. Charts are not drawn, which would take longer than the fault."""

from synthetic_runs import words_of

from syft_flwr.config import Settings
from syft_flwr.report import tables
from syft_flwr.report.facts import facts_of
from syft_flwr.report.metric_lines import metric_lines_of
from syft_flwr.report.outcome_part import outcome_part, tiles
from syft_flwr.report.timeline import timeline_of
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import CONTROL
from syft_flwr.runs.finding import find_run
from syft_flwr.runs.outcome import is_loss
from syft_flwr.text import printable

_BEGINS = ("run-started", "run-resumed")


def assert_reported(settings: Settings, run: int, role: str, entries: list[RecordEntry]) -> None:
    """Check that the report has the state, the cause and each failure of the record, and no other failure."""
    facts = facts_of(find_run(settings, run, role=role))
    told = words_of(outcome_part(facts, metric_lines_of(facts)) + tiles(facts))
    failures = _failures(entries, role)
    assert [row[3] for row in tables.failures_table(facts).rows] == [entry.text("reason") for entry in failures]
    assert f"Failed requests {len(failures)}" in told
    if facts.view.cause:
        assert " ".join(printable(facts.view.cause).split()) in told
    assert facts.view.state in told or facts.view.is_open
    shown = {entry.text("reason") for entry in failures}
    assert all(reason in told for reason in shown), told
    timeline = timeline_of(facts)
    assert sum(row.requests for row in timeline.rows) + timeline.replayed == len(facts.requests)
    assert all(seconds >= 0 for row in timeline.rows for bar in row.bars for _, seconds in bar.parts)


def _failures(entries: list[RecordEntry], role: str) -> list[RecordEntry]:
    """Return the end of each failed request, at an aggregator since the last resume, in the order of their begins."""
    begins = [number for number, entry in enumerate(entries) if entry.event in _BEGINS]
    since = begins[-1] if begins and role == "aggregator" else 0
    control = {entry.text("message") for entry in entries if entry.fields.get("kind") == CONTROL}
    ends: dict[str, RecordEntry | None] = {}
    for entry in entries[since:]:
        message = entry.text("message")
        if message in control:
            continue
        if entry.event in ("request-sent", "request-received"):
            ends.setdefault(message, None)
        elif entry.event in ("request-ended", "reply-released") and ends.get(message) is None:
            ends[message] = entry
    return [
        entry
        for entry in ends.values()
        if entry and entry.text("outcome") != "answered" and is_loss(entry.text("reason") or "unknown")
    ]
