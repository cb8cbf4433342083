"""The records of local runs: kept without keys, live, found again, and given back by ``syft_flwr.run``."""

import asyncio
import csv
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tiny_project import DO1, DO2, DS, Tiny
from waiting import eventually

import syft_flwr
from syft_flwr.runs.entry import read_entry
from syft_flwr.runs.listing import local_runs_of
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.recorded_run import RecordedRun

_PATIENCE = 60.0
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
#: A program that starts the server as an application of its own and hides the failure of the ServerApp.
_HIDING_MAIN = """\
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import run_client, syftbox_flwr_server
from flwr.app import Context, RecordDict
from pathlib import Path

PROJECT = Path(__file__).parent
settings = load_settings(PROJECT)
if settings.participant_role() == "client":
    run_client(PROJECT)
else:
    from tiny.server_app import app
    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    syftbox_flwr_server(app, context, settings.datasites, settings.app_name, PROJECT)
"""

pytestmark = pytest.mark.e2e


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "base"))
    return Tiny(tmp_path)


def run(tiny: Tiny, task: str, monkeypatch: pytest.MonkeyPatch) -> RecordedRun:
    monkeypatch.setenv("TINY_TASK", task)
    result = syft_flwr.run(tiny.folder, tiny.data)
    assert isinstance(result, RecordedRun)
    return result


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([_COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=_PATIENCE)


def local_folder(tmp_path: Path) -> Path:
    (folder,) = (path for path in (tmp_path / "base" / "local").iterdir() if path.is_dir())
    return folder


def test_run_gives_rounds_metrics_and_paths(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tiny, "train", monkeypatch)

    assert found
    assert (found.state, found.cause, found.role, found.participant) == ("completed", "", "aggregator", DS)
    assert [(each.number, each.asked, each.answered, each.failed) for each in found.rounds] == [
        ("1", 4, 4, 0),
        ("2", 4, 4, 0),
    ]
    assert found.total_rounds == 2
    assert all(each.seconds > 0 for each in found.rounds)
    assert found.metrics["evaluate"]["2"]["accuracy"] == 0.75
    assert found.metrics["train"].keys() == {"1", "2"}
    assert {email: each.answered for email, each in found.data_owners.items()} == {DO1: 4, DO2: 4}
    assert (found.asked, found.answered, found.failed, found.failures, found.lost) == (8, 8, 0, [], 0)
    assert found.started is not None
    assert found.ended is not None
    assert found.started < found.ended
    assert all(path.exists() for path in (found.paths.record, found.paths.home, found.paths.output, found.paths.log))
    assert next(entry.event for entry in found.events()) == "run-started"
    assert found.paths.metrics_csv is not None
    assert found.paths.metrics_jsonl is not None
    rows = list(csv.DictReader(found.paths.metrics_csv.read_text().splitlines()))
    assert [
        {**each, "value": str(each["value"])}
        for each in map(json.loads, found.paths.metrics_jsonl.read_text().splitlines())
    ] == rows
    assert {row["data_owner"] for row in rows} == {"", DO1, DO2}
    accuracy = [
        row["value"] for row in rows if (row["source"], row["name"], row["round"]) == ("evaluate", "accuracy", "2")
    ]
    assert accuracy == ["0.75"] * 3
    assert [entry.event for entry in found.follow()][-1] == "run-ended"

    again = syft_flwr.open_run(found.run_id)
    assert (again.run_id, again.local, again.state, again.rounds) == (
        found.run_id,
        found.local,
        "completed",
        found.rounds,
    )
    shown = command("logs", str(found.run_id), "--format", "json")
    sources = {row["source"]: row["message"] for row in map(json.loads, shown.stdout.splitlines()) if row["time"]}
    assert (shown.returncode, sources.keys()) == (0, {"ours", "flower"})
    assert sources["ours"] == f"run {found.run_id} (tiny) was completed"
    mine = syft_flwr.open_run(str(found.run_id), role="datasite", email=DO2)
    assert (mine.participant, mine.role, mine.answered, bool(mine)) == (DO2, "datasite", 4, True)
    assert (mine.paths.metrics_csv, mine.paths.metrics_jsonl) == (None, None)
    assert mine.requests[-1].metrics["accuracy"] == 0.75
    assert [each.number for each in mine.rounds] == ["1", "2"]


def test_records_contain_no_key_database_or_message(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny, "report", monkeypatch)

    files = [path for path in local_folder(tmp_path).rglob("*") if path.is_file()]
    names = {path.name for path in files if not path.name.endswith((".jsonl", ".status.json", ".metrics.csv"))}
    assert names == {"run.json", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = [tmp_path / "base" / "local", local_folder(tmp_path)]
    folders += [path for path in local_folder(tmp_path).rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert not any(path.is_symlink() for path in local_folder(tmp_path).rglob("*"))


def test_failures_have_their_round_and_reason(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tiny, "silent", monkeypatch)

    assert not found
    assert (found.state, found.cause) == ("completed", "")
    assert found.losses == (Loss(DO2, "query.silent", "app-raised", 2, 0),)
    assert f"a data owner gave no good reply: {DO2}: 2 query.silent app-raised" in found.refusal
    assert found.refusal.startswith(f"{DO2} failed first, at a query.silent request: app-raised: the ClientApp raised")
    assert [(each.data_owner, each.reason) for each in found.failures] == [(DO2, "app-raised")] * 2
    assert all("ValueError" in each.text for each in found.failures)
    (listed,) = local_runs_of(tmp_path / "base")[0]
    fields = listed.as_fields()
    assert (fields["state"], fields["succeeded"], fields["cause"]) == ("completed", False, found.refusal)
    assert "completed, but counts as a failure" in listed.as_row()
    owner = syft_flwr.open_run(found.run_id, role="datasite", email=DO2)
    assert [(each.data_owner, each.reason) for each in owner.failures] == [(DO2, "app-raised")] * 2


def test_replies_with_an_error_of_the_app_are_no_good(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tiny, "refuse", monkeypatch)

    assert not found
    assert (found.state, found.losses) == ("completed", (Loss(DO2, "query.refuse", "app-error", 2, 0),))
    assert found.refusal.startswith(
        f"{DO2} failed first, at a query.refuse request: app-error: code 7: too few patients"
    )
    assert [each.reason for each in found.failures] == ["app-error"] * 2
    assert all("too few patients" in each.text for each in found.failures)


def test_raising_server_app_is_the_cause(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tiny, "raise", monkeypatch)

    cause = f"run {found.run_id} failed: the ServerApp raised ValueError"
    assert (bool(found), found.state, found.cause) == (False, "failed", cause)
    # The record has the state of the server itself.
    assert [entry.fields["cause"] for entry in found.events() if entry.event == "run-ended"] == [
        "the ServerApp raised ValueError"
    ]


def test_failed_training_does_not_end_as_success(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny.folder / "main.py").write_text(_HIDING_MAIN)

    found = run(tiny, "raise", monkeypatch)

    assert (bool(found), found.state) == (False, "failed")
    assert found.cause == f"run {found.run_id} failed: the ServerApp raised ValueError"


def test_server_that_begins_no_run_gives_a_false_object(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny.folder / "tiny" / "server_app.py").write_text("import no_such_library\n")

    found = run(tiny, "report", monkeypatch)

    assert not found
    assert (found.run_id, found.state) == (0, "failed")
    assert found.cause.startswith(f"{DS} ended with 1: tiny.server_app:app in {tiny.folder} cannot be imported: ")
    assert "no_such_library" in found.cause
    assert not found.has_record
    assert found.paths.log is not None
    assert "no_such_library" in found.paths.log.read_text()
    assert syft_flwr.open_run(found.local).cause == found.cause
    assert found.id == found.local


def test_server_that_ends_at_once_is_a_failure(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    main = 'import os, time\nif os.environ["SYFT_FLWR_ROLE"] == "client":\n    time.sleep(600)\n'
    (tiny.folder / "main.py").write_text(main)

    found = run(tiny, "report", monkeypatch)

    assert (bool(found), found.cause) == (False, "the server ended before it began a run")


def test_killed_supervisor_leaves_an_interrupted_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")
    # A killed process leaves its temporary folder.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(tiny.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: tiny.hangs or process.poll() is not None, "the tasks have started", _PATIENCE)
        started = psutil.Process(process.pid).children(recursive=True)
        live = json.loads(command("runs", "--format", "json").stdout)["runs"]
        run_id = live[0]["run-id"]
        found = syft_flwr.open_run(run_id)
        assert (found.state, bool(found)) == ("running", False)
        following = found.follow()
        assert next(following).event == "run-started"
        process.send_signal(signal.SIGKILL)
    # The end of the process ends the wait for further entries.
    assert "run-ended" not in [entry.event for entry in following]
    _, alive = psutil.wait_procs(started, timeout=_PATIENCE)
    assert alive == []

    after = syft_flwr.open_run(run_id)
    assert (after.state, bool(after), after.asked) == ("interrupted", False, 2)
    assert after.local == local_folder(tmp_path).name
    (listed,) = json.loads(command("runs", "--format", "json").stdout)["runs"]
    assert (listed["run-id"], listed["state"], listed["local"]) == (run_id, "interrupted", after.local)


def test_two_local_runs_at_once_keep_their_own_records(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    processes = [
        subprocess.Popen(
            tiny.command("--output-dir", name, "--format", "json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name in ("one", "two")
    ]
    printed = [json.loads(process.communicate(timeout=_PATIENCE)[0]) for process in processes]

    assert [each["success"] for each in printed] == [True, True]
    assert len({each["run-id"] for each in printed}) == 2
    for each in printed:
        found = syft_flwr.open_run(each["run-id"])
        assert (found.local, found.answered) == (each["local"], 2)
        assert all(Path(participant["record"]).is_file() for participant in each["participants"])
        assert str(found.paths.home.parent) == each["records"]
        assert str(found.paths.output) == each["output"]


def test_runs_are_shown_without_an_email(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tiny, "partly", monkeypatch)
    assert found

    listed = command("runs")
    assert listed.returncode == 0, listed.stderr
    shown = command("runs", found.id)
    assert shown.returncode == 0, shown.stderr
    assert f"Run {found.run_id} of tiny, aggregator {DS}, local run {found.local}" in shown.stdout
    assert "State: completed" in shown.stdout
    assert "not the first time" not in shown.stdout
    assert "app-raised" in shown.stdout
    read = json.loads(command("runs", found.id, "--format", "json").stdout)
    assert (read["run-id"], read["state"], read["answered"], read["failed"]) == (found.id, "completed", 3, 1)
    assert read["failures"][0]["data-owner"] == DO2
    lines = command("runs", found.id, "--events").stdout.splitlines()
    entries = [read_entry(line.encode()) for line in lines]
    assert None not in entries
    assert entries == list(found.events())
    unknown = command("runs", "12")
    assert (unknown.returncode, "run '12' is not recorded on this machine" in unknown.stderr) == (2, True)


def test_task_of_a_notebook_gives_the_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    async def notebook() -> RecordedRun:
        task = syft_flwr.run(tiny.folder, tiny.data)
        assert isinstance(task, asyncio.Task)
        return await task

    found = asyncio.run(notebook())

    assert (bool(found), found.answered) == (True, 2)


def test_interrupted_local_run_is_stopped(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")
    with subprocess.Popen(tiny.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: tiny.hangs or process.poll() is not None, "the tasks have started", _PATIENCE)
        process.send_signal(signal.SIGINT)

    found = syft_flwr.open_run(local_folder(tmp_path).name)

    assert (found.state, found.cause, bool(found)) == ("stopped", "it was interrupted", False)


def test_unusable_home_stops_no_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("occupied").touch()
    monkeypatch.setenv("SYFT_FLWR_HOME", os.path.abspath("occupied"))

    found = run(tiny, "train", monkeypatch)

    assert found
    assert [(each.number, each.answered) for each in found.rounds] == [("1", 4), ("2", 4)]
    assert (found.local != "", found.paths.record.exists(), list(found.events())) == (True, False, [])
    shown = capfd.readouterr()
    assert "records of this run: not kept" in shown.out
    assert "show them with" not in shown.out


def test_unusable_home_gives_json_without_records(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("occupied").touch()
    monkeypatch.setenv("SYFT_FLWR_HOME", os.path.abspath("occupied"))
    monkeypatch.setenv("TINY_TASK", "raise")

    result = subprocess.run(
        tiny.command("--format", "json"), capture_output=True, text=True, check=False, timeout=_PATIENCE
    )

    fields = json.loads(result.stdout)
    assert (result.returncode, fields["success"], fields["records"]) == (1, False, None)
    assert [each["record"] for each in fields["participants"]] == [None] * 3
    assert result.stderr.count("the records of this run are deleted at its end") == 1
