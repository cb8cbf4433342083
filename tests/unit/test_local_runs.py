"""The records of local runs: their folder, their description, and which of them are deleted."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from loguru import logger
from plain_user import as_plain_user
from typer.testing import CliRunner

from syft_flwr import open_run
from syft_flwr._store.states import RunState
from syft_flwr.cli.app import app
from syft_flwr.cli.exits import ExitCode
from syft_flwr.errors import ConfigError, StoreError
from syft_flwr.runs.listing import local_runs_of
from syft_flwr.runs.local_run import LocalRun, local_runs
from syft_flwr.simulation import kept_records
from syft_flwr.simulation.federation import Federation, Seat
from syft_flwr.simulation.folders import Folders
from syft_flwr.simulation.kept_records import KeptRecords

_DS, _DO = "ds@x.org", "do@x.org"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture(autouse=True)
def environment(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(base))
    monkeypatch.setenv("COLUMNS", "1000")
    yield
    logger.remove()


def keep(base: Path, temporary: Path = Path("/dev/null")) -> KeptRecords:
    seats = (Seat(_DS, "server", _DS), Seat(_DO, "client", _DO))
    federation = Federation(Path("/project"), base, "syftbox", "tiny", _DS, (_DO,), seats)
    return KeptRecords(federation, Folders(Path("/output"), Path("/logs")), temporary)


def keep_ended(base: Path, state: RunState = RunState.COMPLETED, cause: str = "", run: int = 0) -> LocalRun:
    with keep(base) as records:
        records.note_run(run)
        records.end(state, cause)
        return records.local


def names(base: Path) -> list[str]:
    return [each.name for each in local_runs(base) if isinstance(each, LocalRun)]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["runs", *arguments])


def change(local: LocalRun, **values: Any) -> None:
    """Change values of the description of a local run."""
    path = local.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_no_local_run_is_an_empty_list(base: Path) -> None:
    assert list(local_runs(base)) == []
    assert not base.exists()


def test_description_gives_participants_and_end(base: Path) -> None:
    with keep(base) as records:
        (found,) = local_runs(base)
        assert isinstance(found, LocalRun)
        assert (found.state, found.is_served, found.run) == ("running", True, 0)
        records.note_run(7)
        records.end(RunState.FAILED, "it raised")

    (found,) = local_runs(base)
    assert isinstance(found, LocalRun)
    assert (found.state, found.is_served, found.run, found.facts.cause) == ("failed", False, 7, "it raised")
    assert [(seat.email, seat.role, seat.log) for seat in found.facts.seats] == [
        (_DS, "aggregator", Path("/logs/ds@x.org.log")),
        (_DO, "datasite", Path("/logs/do@x.org.log")),
    ]
    assert found.home(_DO) == found.folder / _DO
    assert found.records(_DO).is_dir()


def test_files_are_private(base: Path) -> None:
    keep_ended(base)

    for path in base.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_run_without_an_end_is_interrupted(base: Path) -> None:
    keep(base)._opened.close()

    (found,) = local_runs(base)
    assert isinstance(found, LocalRun)
    assert found.state == "interrupted"


@pytest.mark.parametrize(
    ("error", "state", "cause"),
    [(ValueError("x"), "failed", "ValueError: x"), (KeyboardInterrupt(), "stopped", "it was interrupted")],
)
def test_exception_is_the_end(base: Path, error: BaseException, state: str, cause: str) -> None:
    with pytest.raises(type(error)), keep(base):
        raise error

    (found,) = local_runs(base)
    assert isinstance(found, LocalRun)
    assert (found.state, found.facts.cause) == (state, cause)


def test_first_end_of_a_local_run_stays(base: Path) -> None:
    with keep(base) as records:
        records.end(RunState.COMPLETED, "")
        records.end(RunState.FAILED, "later")

    assert records.local.state == "completed"


def test_oldest_local_runs_are_deleted(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_records, "MOST_LOCAL_RUNS", 3)
    kept = []
    for number in range(5):
        local = keep_ended(base)
        # Two runs of the same second have no order.
        kept.append(local.folder.rename(local.folder.with_name(f"20260101-00000{number}-00000000")).name)

    last = keep_ended(base)

    assert names(base) == [*kept[-2:], last.name]


def test_running_local_run_is_not_deleted(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_records, "MOST_LOCAL_RUNS", 1)
    with ExitStack() as running:
        started = {running.enter_context(keep(base)).local.name for _ in range(3)}

        assert set(names(base)) == started

    last = keep_ended(base)
    assert names(base) == [last.name]


def test_only_folders_of_local_runs_are_deleted(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_records, "MOST_LOCAL_RUNS", 1)
    mine = base / "local" / "my notes"
    mine.mkdir(parents=True)
    (base / "treasure").mkdir()
    (base / "local" / "20260101-000000-00000000").symlink_to(base / "treasure")

    keep_ended(base)
    keep_ended(base)

    assert mine.exists()
    assert (base / "treasure").exists()
    assert (base / "local" / "20260101-000000-00000000").is_symlink()
    assert len(names(base)) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"v": 2},
        {"app": "../../tiny"},
        {"app": "/etc"},
        {"seats": []},
        {"seats": [{"email": "../../etc", "role": "aggregator", "log": "x"}]},
        {"seats": [{"email": "/etc/x@y.org", "role": "aggregator", "log": "x"}]},
        {"seats": [{"email": _DS, "role": "referee", "log": "x"}]},
        {"state": "unknown"},
        {"run": -1},
        {"run": 1 << 63},
        {"started": "2026-01-01T00:00:00"},
    ],
)
def test_damaged_description_hides_no_other_run(base: Path, values: dict[str, Any]) -> None:
    change(keep_ended(base, run=5), **values)
    whole = keep_ended(base, run=7)

    found, problems = local_runs_of(base)

    assert [run.local for run in found] == [whole.name]
    (problem,) = problems
    assert "run.json cannot be used" in str(problem)
    assert problem.hint
    assert open_run(7).local == whole.name
    with pytest.raises(StoreError, match=r"run\.json cannot be used"):
        open_run(5)
    assert "Skipped: " in invoke().stderr


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b" " * (2 << 20)])
def test_unreadable_description_is_a_problem(base: Path, content: bytes) -> None:
    (keep_ended(base).folder / "run.json").write_bytes(content)

    (problem,) = local_runs(base)

    assert isinstance(problem, StoreError)


def test_refused_description_gets_no_advice_to_delete_it(base: Path) -> None:
    (keep_ended(base).folder / "run.json").chmod(0)

    (problem,) = as_plain_user(lambda: list(local_runs(base)))

    assert isinstance(problem, StoreError)
    assert "Permission denied" in str(problem)
    assert "Give this user access to it" in problem.hint


def test_stop_of_an_interrupted_local_run_tells_to_start_again(base: Path) -> None:
    with keep(base) as records:
        local = records.local

    result = CliRunner().invoke(app, ["stop", local.name])

    assert result.exit_code == ExitCode.FAILED
    assert "no process to stop" in result.stderr
    assert "A local run does not continue. Start it again: syft-flwr run" in result.stderr
    assert "server" not in result.stderr


def test_unreadable_folder_of_local_runs_is_a_problem(base: Path) -> None:
    keep_ended(base)
    folder = base / "local"
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("this user may read all files")
        (problem,) = local_runs(base)
    finally:
        folder.chmod(0o700)
    assert "cannot be used" in str(problem)


def test_description_that_is_not_written_yet_is_no_problem(base: Path) -> None:
    (keep_ended(base).folder / "run.json").unlink()

    assert list(local_runs(base)) == []


def test_later_release_may_add_values(base: Path) -> None:
    local = keep_ended(base)
    change(local, mood="good")

    assert names(base) == [local.name]


def test_run_is_known_by_its_record_before_it_is_noted(base: Path) -> None:
    with keep(base) as records:
        folder = records.local.records(_DS)
        for name in (
            f"{8:016x}.aggregator.metrics.jsonl",
            f"{9:016x}.aggregator.jsonl",
            f"{0:016x}.aggregator.jsonl",
            "x.jsonl",
        ):
            (folder / name).touch()
        assert records.local.run == 9


def test_full_disk_at_the_end_is_logged(base: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with keep(base) as records:
        (records.local.folder / "run.json").unlink()
        (records.local.folder / "run.json").mkdir()
        records.end(RunState.COMPLETED, "")

    assert any("the description of the local run" in line for line in logged)
    # The process itself knows the end.
    assert records.local.state == "completed"


def test_unusable_home_keeps_the_records_elsewhere(base: Path, tmp_path: Path, logged: list[str]) -> None:
    base.mkdir()
    (base / "local").touch()

    with keep(base, tmp_path / "temporary") as records:
        assert records.local.folder.is_relative_to(tmp_path / "temporary")
        assert records.local.records(_DS).is_dir()
        records.end(RunState.COMPLETED, "")

    assert (records.are_kept, records.local.state) == (False, "completed")
    (warning,) = (line for line in logged if "the records of this run are deleted at its end" in line)
    assert "SYFT_FLWR_HOME" in warning


def test_no_place_for_records_is_an_error(base: Path) -> None:
    base.mkdir()
    (base / "local").touch()

    with pytest.raises(StoreError, match="cannot be") as caught:
        keep(base)

    assert "SYFT_FLWR_HOME" in caught.value.hint


# Finding and listing


def test_local_run_is_found_by_id_and_by_name(base: Path) -> None:
    local = keep_ended(base, run=7)

    for wanted in (7, "7", local.name):
        found = open_run(wanted)
        assert (found.run_id, found.local, found.role, found.participant) == (7, local.name, "aggregator", _DS)
    mine = open_run(7, role="datasite")
    assert (mine.participant, mine.paths.log, mine.paths.output) == (_DO, Path("/logs/do@x.org.log"), Path("/output"))
    assert open_run(7, email=_DO).participant == _DO


def test_local_run_of_another_email_is_not_found(base: Path) -> None:
    keep_ended(base, run=7)

    with pytest.raises(ConfigError, match="is not recorded") as caught:
        open_run(7, email="other@x.org")
    assert f"{_DS} (aggregator), {_DO} (data owner)" in caught.value.hint


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.STOPPED])
def test_end_of_a_local_run_decides(base: Path, state: RunState) -> None:
    keep_ended(base, state, "why", run=7)

    found = open_run(7)

    assert (found.state, found.cause, bool(found)) == (state.value, "why", state is RunState.COMPLETED)


def test_local_run_without_a_run_has_its_name(base: Path) -> None:
    local = keep_ended(base, RunState.FAILED, "ds@x.org ended with 2")

    found = open_run(local.name)

    assert (found.run_id, found.id, found.has_record, bool(found)) == (0, local.name, False, False)
    assert f"run {local.name} of tiny" in repr(found)


def test_local_runs_are_listed_without_an_email(base: Path) -> None:
    keep_ended(base, RunState.FAILED, "it raised", run=7)

    result = invoke("--format", "json")

    assert result.exit_code == ExitCode.OK
    (listed,) = json.loads(result.stdout)["runs"]
    assert (listed["run-id"], listed["app"], listed["role"], listed["state"]) == ("7", "tiny", "aggregator", "failed")
    assert listed["cause"] == "it raised"
    assert listed["local"] == names(base)[0]
    assert "tiny (local)" in invoke().stdout


def test_account_of_a_run_without_record_says_so(base: Path) -> None:
    local = keep_ended(base, RunState.FAILED, "it raised", run=7)

    shown = invoke("7")

    assert shown.exit_code == ExitCode.OK
    assert f"Run 7 of tiny, aggregator {_DS}, local run {local.name}" in shown.stdout
    assert "State: failed (it raised)" in shown.stdout
    assert "The record of this run is missing" in shown.stdout
    read = json.loads(invoke(local.name, "--format", "json").stdout)
    assert (read["success"], read["run-id"], read["answered"], read["rounds"]) == (True, "7", None, [])
    assert invoke("7", "--events").stdout == ""


@pytest.mark.parametrize("arguments", [["--events"], ["--role", "datasite"], ["--email", _DS], [".", "--events"]])
def test_options_of_one_run_need_its_id(base: Path, arguments: list[str]) -> None:
    result = invoke(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert "need the id of a run" in result.stderr


def test_unknown_run_is_bad_usage(base: Path) -> None:
    result = invoke("12", "--format", "json")

    assert result.exit_code == ExitCode.USAGE
    assert json.loads(result.stdout)["error"]["type"] == "ConfigError"


@pytest.mark.parametrize("field", ["cause", "refusal"])
def test_long_cause_is_short_in_the_list_and_whole_in_json(base: Path, field: str) -> None:
    text = "the first failure; " * 60 + "the end"
    local = keep_ended(base, RunState.FAILED if field == "cause" else RunState.COMPLETED, run=7)
    change(local, **{field: text})

    listed = invoke().stdout
    (found,) = json.loads(invoke("--format", "json").stdout)["runs"]

    assert max(map(len, listed.splitlines())) < 350
    assert "the first failure; the first failure;" in listed
    assert "the end" not in listed
    assert "…" in listed
    assert found["cause"] == text
    assert text in invoke("7").stdout
