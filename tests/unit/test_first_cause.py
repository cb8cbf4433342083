"""The first cause of a failed local run: its text, and its lines in the log of a participant."""

from pathlib import Path

import pytest

from syft_flwr._store.futures import FirstFailure
from syft_flwr.simulation.first_cause import cause_at, cause_of_failure, error_in, traceback_in
from syft_flwr.text import log_entry

_TRACE = 'Traceback (most recent call last):\n  File "app.py", line 3, in train\n    model\n'
_LOG = f"""\
2026-11-28T10:00:00.000Z INFO     ours   7 do@x.org serves ds@x.org
2026-11-28T10:00:01.000Z ERROR    ours   7 message a of run 7 (app) failed (reference aaaa); the client continues:
{_TRACE}NameError: one
\x1b[31m2026-11-28T10:00:02.000Z ERROR    ours   7 message b of run 7 (app) failed (reference bbbb); the client continues:\x1b[0m
{_TRACE}NameError: two\x07
2026-11-28T10:00:03.000Z INFO     ours   7 run 7 is over
Error: the first of two errors
  Its hint.
Error: the last error
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "do@x.org.log"
    path.write_text(_LOG)
    return path


def test_traceback_is_found_by_its_reference(log: Path) -> None:
    trace = tuple(_TRACE.splitlines())

    assert traceback_in(log, "bbbb") == (*trace, r"NameError: two\x07")
    assert traceback_in(log) == (*trace, "NameError: one")
    assert traceback_in(log, "cccc") == ()


def test_indentation_of_a_log_entry_is_not_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    entry = log_entry(f"message b of run 7 (app) failed (reference bbbb):\n{_TRACE}NameError: two")
    log.write_text(
        f"2026-11-28T10:00:02.000Z ERROR    ours   7 {entry}\n2026-11-28T10:00:03.000Z INFO     ours   7 run 7 is over\n"
    )

    assert entry.splitlines()[1] == "  Traceback (most recent call last):"
    assert traceback_in(log, "bbbb") == (*_TRACE.splitlines(), "NameError: two")


def test_failure_of_a_request_names_owner_kind_and_round(log: Path) -> None:
    failure = FirstFailure("do@x.org", "train", "2", "app-raised", "the ClientApp raised NameError", "bbbb")

    cause = cause_of_failure(failure, log)

    text = "do@x.org failed first, at a train request in round 2: app-raised: the ClientApp raised NameError"
    assert (cause.participant, cause.text, cause.lines[-1]) == ("do@x.org", text, r"NameError: two\x07")
    assert cause.as_fields()["lines"][0] == "Traceback (most recent call last):"


def test_failure_without_a_reference_has_no_traceback_of_another(log: Path) -> None:
    failure = FirstFailure("do@x.org", "train", "", "no-answer", "no reply within 60 s", "")

    assert cause_of_failure(failure, log).lines == ()


def test_death_of_a_participant_has_the_first_traceback(log: Path) -> None:
    assert cause_at("do@x.org", "it ended with 1", log).lines[-1] == "NameError: one"
    assert error_in(log) == "the last error"


def test_long_traceback_loses_its_middle(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(_TRACE + "".join(f"  line {number}\n" for number in range(500)) + "RecursionError\n")

    lines = traceback_in(path)

    assert len(lines) < 70
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "RecursionError")


def test_missing_log_has_no_lines(tmp_path: Path) -> None:
    assert (traceback_in(tmp_path / "none"), error_in(tmp_path / "none")) == ((), "")
