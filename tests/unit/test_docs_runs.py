"""The examples of docs/runs.md give the right result over a record that this package wrote."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from syft_flwr.clock import SystemClock
from syft_flwr.runs.events import (
    EVENTS,
    Event,
    LoggedWarning,
    Metrics,
    ReplyReleased,
    RequestEnded,
    RequestReceived,
    RequestRefused,
    RequestSent,
    RunEnded,
    RunStarted,
)
from syft_flwr.runs.record import Role, record_path
from syft_flwr.runs.stream import EventStream

_PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
_DS, _DO, _APP, _RUN = "ds@research.org", "do1@hospital-a.org", "diabetes_prediction", (1 << 62) + 7
_AUDIT, _METRICS, _FAILURES = "The audit of a data owner", "The metrics of a run", "The failures"
_FILES = "The metrics as files"


def _example(heading: str, language: str) -> str:
    chapter = _PAGE.split(f"### {heading}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]
    return next(code for found, code in _FENCE.findall(chapter) if found == language)


def _write(home: Path, email: str, role: Role, events: list[tuple[int, Event]]) -> None:
    folder = home / ".syft_flwr" / email / "apps" / _APP / "runs"
    with closing(EventStream(folder, role, SystemClock())) as stream:
        for run, event in events:
            stream.emit(run, event)
    with record_path(folder, _RUN, role).open("ab") as file:
        file.write(b'{"v":1,"n":99,"time":"2026-')


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Return a function that runs an example of this page, with the records of two participants in its home."""
    _write(
        tmp_path,
        _DO,
        "datasite",
        [
            (0, RequestRefused("eve.request", "eve@x.org", "invalid", "it is no request")),
            (_RUN, RunStarted("datasite", _APP, _DS)),
            (_RUN, RequestReceived("aa", _DS, "train", "", 2000, "00")),
            (_RUN, ReplyReleased("aa", _DS, "answered", "1", bytes=700, records=["arrays"])),
            (_RUN, ReplyReleased("aa", _DS, "answered", "1", bytes=700, records=["arrays"])),
            (_RUN, RequestReceived("bb", _DS, "train", "", 2000, "01")),
            (_RUN, ReplyReleased("bb", _DS, "failed", "2", "app-raised", "ValueError", 50)),
            (_RUN, RequestReceived("cc", _DS, "train", "", 2000, "02")),
        ],
    )
    _write(
        tmp_path,
        _DS,
        "aggregator",
        [
            (_RUN, RunStarted("aggregator", _APP, _DS)),
            (_RUN, RequestSent("aa", _DO, "train", "1")),
            (_RUN, RequestEnded("aa", _DO, "train", "answered", "1", metrics={"loss": 0.75})),
            (_RUN, Metrics("1", "train", {"loss": 0.5})),
            (_RUN, Metrics("10", "train", {"loss": 0.25})),
            (_RUN, LoggedWarning("warning", "the disk is slow")),
            (_RUN, RequestEnded("bb", _DO, "train", "failed", "2", "app-raised", "ValueError")),
            (_RUN, RunEnded("completed")),
        ],
    )

    def run_example(heading: str, language: str) -> list[str]:
        if language == "sh" and shutil.which("jq") is None:
            pytest.skip("this example needs jq")
        command = ["bash", "-euc"] if language == "sh" else [sys.executable, "-c"]
        environment = os.environ | {"HOME": str(tmp_path)}
        code = _example(heading, language)
        done = subprocess.run([*command, code], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run_example


def test_audit_with_jq_shows_each_request_once(run: Callable[[str, str], list[str]]) -> None:
    rows = [line.split("\t") for line in run(_AUDIT, "sh")]
    assert sorted(row[1:] for row in rows) == [
        [_DS, "train", str(_RUN), "", "0", "no reply", ""],
        [_DS, "train", str(_RUN), "1", "700", "answered", ""],
        [_DS, "train", str(_RUN), "2", "50", "failed", "app-raised"],
    ]


def test_audit_in_python_sums_the_bytes_once(run: Callable[[str, str], list[str]]) -> None:
    lines = run(_AUDIT, "python")
    assert [line.split()[0] for line in lines].count("refused") == 1
    assert sum(f"{_DS} train {_RUN}" in line for line in lines) == 2
    assert lines[-2].startswith("no reply")
    assert lines[-1] == f"run {_RUN} bytes 750"


@pytest.mark.parametrize("language", ["sh", "python"])
def test_metrics_example_shows_each_round(run: Callable[[str, str], list[str]], language: str) -> None:
    rows = [re.split(r"[\t ]", line, maxsplit=2) for line in run(_METRICS, language)]
    assert [(row[0], row[1]) for row in rows] == [("1", "train"), ("10", "train")]
    assert "0.25" in rows[1][2]


def test_example_of_the_files_shows_each_value(run: Callable[[str, str], list[str]]) -> None:
    assert run(_FILES, "python") == [f"1 train {_DO} loss 0.75", "1 train all loss 0.5", "10 train all loss 0.25"]


def test_failures_example_shows_failures_and_warnings(run: Callable[[str, str], list[str]]) -> None:
    lines = [line.split("\t", 1)[1] for line in run(_FAILURES, "sh")]
    assert lines == [f"{_DO}\t2\tapp-raised\tValueError", "warning\tthe disk is slow"]


def test_page_describes_every_event() -> None:
    described = re.findall(r"^\| \*\*`([a-z-]+)`\*\* \|", _PAGE, re.M)
    assert sorted(described) == sorted(EVENTS)
