"""The end of a local run names the warnings of its aggregator that no row of a data owner shows."""

from pathlib import Path

import pytest
from synthetic_runs import DS, NOW, RUN, begun, entries

from syft_flwr.runs.events import LoggedWarning, RunEnded
from syft_flwr.runs.local_run import LocalFacts, LocalRun, LocalSeat
from syft_flwr.runs.record import record_path
from syft_flwr.simulation.closing_report import own_warnings


@pytest.fixture
def local(tmp_path: Path) -> LocalRun:
    seat = LocalSeat(email=DS, role="aggregator", log=tmp_path / "log")
    facts = LocalFacts(
        app="diabetes", transport="syftbox", project=tmp_path, output=tmp_path, seats=(seat,), started=NOW, run=RUN
    )
    run = LocalRun(tmp_path / "20260101-093000-0000abcd", facts)
    run.records(DS).mkdir(parents=True)
    return run


def record_of(local: LocalRun) -> Path:
    return record_path(local.records(DS), RUN, "aggregator")


def test_warnings_about_data_owners_and_errors_are_left_out(local: LocalRun) -> None:
    warnings = [
        LoggedWarning("warning", "a tracker fails"),
        LoggedWarning("warning", "do1@hospital-a.org fails", "do1@hospital-a.org"),
        LoggedWarning("error", "the ServerApp raised ValueError"),
    ]
    # The last one came after the end of the run.
    events = [begun(), *warnings, RunEnded("completed"), LoggedWarning("warning", "a tracker took too long")]
    record_of(local).write_bytes(b"".join(entry.encode() for entry in entries(events)))
    assert own_warnings(local) == ("a tracker fails", "a tracker took too long")


def test_missing_record_has_no_warning(local: LocalRun) -> None:
    assert own_warnings(local) == ()


def test_unreadable_record_does_not_change_the_end(local: LocalRun) -> None:
    record_of(local).mkdir()
    assert own_warnings(local) == ()
