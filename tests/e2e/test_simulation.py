"""`syft_flwr.run` and `syft-flwr run`: whole federations as real processes, and every way in which they end."""

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from synthetic_runs import words_of
from tiny_project import DO1, DO2, DS, Tiny

import syft_flwr
from syft_flwr.errors import ConfigError, RunError
from syft_flwr.fl_orchestrator.nodes import node_id_of
from syft_flwr.runs.recorded_run import RecordedRun
from syft_flwr.simulation.log_file import MARK
from syft_flwr.simulation.temporary_folder import delete_left_folders

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_PATIENCE = 60.0

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder of the test, and put temporary folders there, so that the test sees leftover files."""
    folder = tmp_path / "work"
    (folder / "temporary").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def nothing_temporary_is_left() -> bool:
    return not list(Path("temporary").iterdir())


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Return whether a process still runs; a zombie does not count, because its parent collects it later."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def reports(output: Path) -> dict[str, dict[str, object]]:
    return dict(json.loads((output / "reports.json").read_text()))


# Successful runs


def test_example_writes_model_results_and_logs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "diabetes"
    shutil.copytree(_EXAMPLE, project, ignore=shutil.ignore_patterns("output", ".sandbox", "logs"))
    emails = ["ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"]
    syft_flwr.bootstrap(project, aggregator=emails[0], datasites=emails[1:])
    data = [project / "data" / hospital / "private" for hospital in ("hospital_a", "hospital_b")]

    assert syft_flwr.run(project, data)

    results = json.loads(Path("output/results.json").read_text())
    assert results["rounds"][-1]["examination"]["accuracy"] >= 0.72
    assert Path("output/diabetes_model.npz").exists()
    (logs,) = (project / "logs").iterdir()
    assert sorted(path.name for path in logs.iterdir()) == sorted(f"{email}.log" for email in emails)
    assert "Hospital A alone" in (logs / f"{emails[0]}.log").read_text()
    shown = capfd.readouterr().out
    assert all(str(path) in shown for path in (*logs.iterdir(), Path("output").absolute()))
    rows = [re.split("  +", line.strip())[:-1] for line in shown.splitlines() if "  completed  " in line]
    # Participant, role, state, exit code, round and replies. Each hospital replies twice in each of 5 rounds, and three
    # more times when it trains alone.
    assert rows == [
        [emails[0], "aggregator", "completed", "0", "5/5", "26"],
        [emails[1], "data owner", "completed", "0", "5", "13"],
        [emails[2], "data owner", "completed", "0", "5", "13"],
    ]
    assert nothing_temporary_is_left()


def test_command_without_main_file_prints_json(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")
    Path("logs").mkdir()
    Path("logs", f"{DO1}.log").write_bytes(MARK + b"of an earlier run")

    done = subprocess.run(
        tiny.command("--format", "json", "--log-dir", "logs"), capture_output=True, timeout=_PATIENCE, check=False
    )

    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert (read["success"], read["answers"], read["failures"]) == (True, 2, 0)
    assert read["output"] == str(Path("output").absolute())
    assert [(each["email"], each["role"], each["exit-code"]) for each in read["participants"]] == [
        (DS, "server", 0),
        (DO1, "client", 0),
        (DO2, "client", 0),
    ]
    assert all(Path(each["log"]).is_file() for each in read["participants"])
    assert b"completed" in done.stderr
    assert sorted(path.name for path in Path("logs").iterdir()) == sorted(f"{email}.log" for email in (DS, DO1, DO2))
    logs = [path.read_bytes() for path in Path("logs").iterdir()]
    assert all(log.startswith(MARK) and len(log) > 2 * len(MARK) for log in logs)
    assert not any(b"of an earlier run" in log for log in logs)
    assert nothing_temporary_is_left()


def test_datasites_get_only_their_own_environment(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYFTBOX_EMAIL", "SYFT_FLWR_POLL_INTERVAL", "SYFT_FLWR_KEEP", "GDRIVE_TOKEN_PATH"):
        monkeypatch.setenv(name, "of the caller")
    of_runs = {"SYFT_FLWR_MSG_TIMEOUT": "110", "SYFT_FLWR_ROUND_TIMEOUT": "900", "SYFT_FLWR_GRACE": "5"}
    for name, value in of_runs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYFTBOX_CLIENT_CONFIG_PATH", str(tmp_path / "missing.json"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data)

    found = reports(tmp_path / "mine")
    assert {node: report["data"] for node, report in found.items()} == {
        str(node_id_of(email)): f"data of {email}" for email in (DO1, DO2)
    }
    assert len({report["home"] for report in found.values()}) == 2
    for report in found.values():
        assert set(report["names"]) == {  # type: ignore[call-overload]
            "SYFTBOX_CLIENT_CONFIG_PATH",
            *of_runs,
            "SYFT_FLWR_AGGREGATOR",
            "SYFT_FLWR_APP_NAME",
            "SYFT_FLWR_DATASITES",
            "SYFT_FLWR_DISPLAY",
            "SYFT_FLWR_HOME",
            "SYFT_FLWR_ROLE",
            "SYFT_FLWR_TRANSPORT",
            "SYFT_FLWR_WORKER_MARK",
        }


def test_aggregator_can_also_be_a_datasite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny(tmp_path, aggregator=DO1)
    syft_flwr.bootstrap(tiny.folder, aggregator=DO1, datasites=[DO1, DO2])
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data, output_dir="both", log_dir="logs")

    assert len(reports(Path("both"))) == 2
    assert {path.name for path in Path("logs").iterdir()} == {
        f"{DO1}.server.log",
        f"{DO1}.client.log",
        f"{DO2}.log",
    }


def test_concurrent_runs_of_a_project_are_separate(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    processes = [
        subprocess.Popen(tiny.command("--output-dir", name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for name in ("one", "two")
    ]
    output = [process.communicate(timeout=_PATIENCE)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], output
    one, two = (reports(Path(name)) for name in ("one", "two"))
    assert {report["home"] for report in one.values()}.isdisjoint(report["home"] for report in two.values())
    assert len(list((tiny.folder / "logs").iterdir())) == 2
    assert nothing_temporary_is_left()


def test_temporary_folder_is_kept_on_request(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data, keep_files=True)

    (kept,) = Path("temporary").iterdir()
    assert {path.name for path in kept.iterdir()} == {"SyftBox", DS, DO1, DO2}
    assert json.loads((kept / DO2 / "config.json").read_text())["email"] == DO2
    # A finished run leaves no messages in any datasite.
    carriers = [path for path in kept.rglob("*") if path.suffix in {".request", ".response", ".blob"}]
    # The heartbeat of the aggregator stays.
    assert not [path for path in carriers if path.parent.name != "status"]


def test_terminal_shows_a_live_table(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    ours, theirs = pty.openpty()
    with subprocess.Popen(tiny.command(), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:
            # Linux raises this when the last process closes the terminal.
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    assert b"starting" in shown
    assert b"completed" in shown
    assert shown.count(b"Participant") > 2
    # Each table is drawn over the one before.
    assert b"\x1b[1A" in shown


# Runs that are not started


@pytest.mark.parametrize("count", [0, 1, 3])
def test_number_of_paths_must_match_the_datasites(tiny: Tiny, count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} paths? for 2 datasites") as caught:
        syft_flwr.run(tiny.folder, [*tiny.data, *tiny.data][:count])

    assert f"{DO1}, {DO2}" in caught.value.hint
    assert not Path("output").exists()
    assert nothing_temporary_is_left()


def test_missing_paths_are_a_usage_error(tiny: Tiny) -> None:
    done = subprocess.run(tiny.command()[:-1], capture_output=True, text=True, timeout=_PATIENCE, check=False)

    assert done.returncode == 2
    assert "1 path for 2 datasites" in done.stderr


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (None, {"transport": "pigeon"}, "transport"),
        (None, {"timeout": 0}, "timeout"),
        ("one path", {}, "expected a list of paths"),
        (["no-such-folder", "no-such-folder"], {}, f"mock data of {DO1}: .*no-such-folder does not exist"),
        (None, {"log_dir": "/dev/null/logs"}, "cannot be created: /dev/null"),
    ],
)
def test_invalid_argument_is_refused_before_the_start(
    tiny: Tiny, paths: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        syft_flwr.run(tiny.folder, tiny.data if paths is None else paths, **options)  # type: ignore[arg-type]

    assert nothing_temporary_is_left()


@pytest.mark.parametrize("kind", ["server", "client", "drive"])
def test_run_keeps_foreign_files_in_its_log_folder(tiny: Tiny, kind: str) -> None:
    name, transport = {"server": (DS, "syftbox"), "client": (DO2, "syftbox"), "drive": ("drive", "p2p")}[kind]
    Path("logs").mkdir()
    log = Path("logs", f"{name}.log")
    log.write_text("mine")
    with pytest.raises(ConfigError, match="is no log of an earlier run"):
        syft_flwr.run(tiny.folder, tiny.data, log_dir="logs", transport=transport)
    assert log.read_text() == "mine"
    assert [path.name for path in Path("logs").iterdir()] == [log.name]
    assert nothing_temporary_is_left()


def test_project_without_participants_is_refused(tiny: Tiny) -> None:
    text = (tiny.folder / "pyproject.toml").read_text()
    (tiny.folder / "pyproject.toml").write_text(text.partition("[tool.syft_flwr]")[0])

    with pytest.raises(ConfigError, match="aggregator is not set"):
        syft_flwr.run(tiny.folder, tiny.data)


def test_failed_process_start_leaves_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")

    with pytest.raises(RunError, match=f"{DS} cannot be started"):
        syft_flwr.run(tiny.folder, tiny.data)

    assert nothing_temporary_is_left()


# Failed runs


def test_server_app_error_fails_the_command(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "raise")

    done = subprocess.run(tiny.command(), capture_output=True, text=True, timeout=_PATIENCE, check=False)

    assert done.returncode == 1
    assert "the plan of the data scientist does not work" in done.stdout
    assert re.search(r"The run failed after .*: run \d+ failed: the ServerApp raised ValueError$", done.stdout, re.M)
    assert f"--- the first cause, at {DS}" in done.stdout
    assert "Error: the run failed" in done.stderr
    assert nothing_temporary_is_left()


def test_client_app_import_error_is_shown(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tiny.folder / "tiny" / "client_app.py").write_text("import no_such_library\n")
    monkeypatch.setenv("TINY_TASK", "report")

    assert not syft_flwr.run(tiny.folder, tiny.data)

    shown = capfd.readouterr().out
    # Nothing was asked, and one data owner tells the cause.
    assert re.search(
        rf"The run failed after .*: ({DO1}|{DO2}) ended with 1: the ClientApp of tiny cannot be loaded", shown
    )
    assert shown.splitlines()[-1].endswith("ModuleNotFoundError: No module named 'no_such_library'")
    assert "--- the first cause, at data@hospital-" in shown
    assert "Traceback (most recent call last):" in shown


def test_run_fails_if_every_reply_of_an_owner_failed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "silent")

    command = tiny.command("--log-dir", "logs", "--report", "report.html", "--format", "json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)

    assert done.returncode == 1
    verdict = f"a data owner gave no good reply: {DO2}: 2 query.silent app-raised, and no good reply"
    (last,) = (line for line in done.stderr.splitlines() if line.startswith("The run was"))
    assert last.endswith(verdict)
    assert "The run was completed, but counts as a failure, after" in last
    assert f"{DO2}: 2 failed, the last with app-raised: the ClientApp raised ValueError" in done.stderr
    # Each row counts the good replies and the losses, as the server saw them.
    read = json.loads(done.stdout)
    counts = {each["email"]: (each["answers"], each["failures"]) for each in read["participants"]}
    assert counts == {DS: (2, 2), DO1: (2, 0), DO2: (0, 2)}
    assert (read["answers"], read["failures"]) == (2, 2)
    assert "--- last lines of" not in done.stderr
    # The traceback of the first cause, at the data owner.
    cause = done.stderr.partition(f"--- the first cause, at {DO2}")[2].partition("---\n")[0]
    assert "Traceback (most recent call last):" in cause
    assert 'raise ValueError("this data owner has nothing to say")' in cause
    assert cause.rstrip().endswith("ValueError: this data owner has nothing to say")
    assert done.stderr.count("Traceback (most recent call last):") == 1
    assert "Error: the run was completed, but counts as a failure" in done.stderr
    assert verdict in done.stderr
    # The report begins with the data owner that failed, and the reason.
    assert read["report"] == str(Path("report.html").absolute())
    first = words_of(Path("report.html").read_text(encoding="utf-8")).partition("Good replies")[0]
    assert f"{DO2}: 2 query.silent requests failed" in first
    assert "the ClientApp raised ValueError" in first
    assert f"Next step. Read its log: syft-flwr logs {read['run-id']} --email {DO2}" in first


def test_run_succeeds_if_only_some_replies_failed(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINY_TASK", "partly")

    assert syft_flwr.run(tiny.folder, tiny.data)

    shown = capfd.readouterr().out
    assert "The run was completed in " in shown.splitlines()[-1]
    assert shown.splitlines()[-1].endswith(f", with losses: {DO2}: 1 query.partly app-raised")
    assert f"{DO2}: 1 failed, the last with app-raised" in shown


def test_strict_run_allows_no_loss(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "partly")

    lossy = syft_flwr.run(tiny.folder, tiny.data, strict=True)
    monkeypatch.setenv("SYFT_FLWR_STRICT", "true")
    clean = syft_flwr.run(tiny.folder, tiny.data)

    assert isinstance(lossy, RecordedRun)
    assert isinstance(clean, RecordedRun)
    assert (bool(lossy), lossy.state) == (False, "completed")
    assert lossy.refusal.endswith(f"strict is set, and there were losses: {DO2}: 1 query.partly app-raised")
    # This time, no request fails.
    assert (bool(clean), clean.losses) == (True, ())


def test_killed_data_owner_ends_the_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINY_TASK", "kill")

    assert not syft_flwr.run(tiny.folder, tiny.data)

    assert "hospital" in (shown := capfd.readouterr().out)
    assert "ended with SIGKILL" in shown
    assert nothing_temporary_is_left()


def test_data_owner_that_exits_early_ends_the_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    syft_flwr.bootstrap(tiny.folder, aggregator=DS, datasites=[DO1, DO2])
    main = tiny.folder / "main.py"
    leave = 'import os\nif "hospital-b" in os.environ["SYFTBOX_CLIENT_CONFIG_PATH"]:\n    raise SystemExit(0)\n'
    main.write_text(leave + main.read_text())
    monkeypatch.setenv("TINY_TASK", "hang")

    assert not syft_flwr.run(tiny.folder, tiny.data)

    assert f"{DO2} ended before the run was over" in capfd.readouterr().out


# Interrupted runs


def test_timed_out_run_fails_and_leaves_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")

    assert not syft_flwr.run(tiny.folder, tiny.data, timeout=3)

    assert "it was not over after 3 s, the limit --timeout" in capfd.readouterr().out
    assert nothing_temporary_is_left()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_signal_leaves_no_process(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")
    command = tiny.command("--format", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: tiny.hangs or process.poll() is not None)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        printed, shown = process.communicate(timeout=_PATIENCE)

    assert process.returncode == code, shown
    if number is signal.SIGKILL:
        assert printed == b""
        # Its folder is left, and deleted below as the next run does.
        assert not nothing_temporary_is_left()
    else:
        read = json.loads(printed)
        assert (read["success"], read["state"], read["error"]["message"]) == (False, "stopped", "interrupted")
        assert b"The run was stopped after" in shown
        assert (DS, "stopped") in [(each["email"], each["state"]) for each in read["participants"]]
    # One server, and for each data owner a client, a worker and the worker's child.
    assert len(started) == 7
    assert {child.pid for child in started} > set(tiny.pids())
    # After SIGKILL no process waits for the others, and the system needs a moment to kill them.
    wait_until(lambda: not any(is_alive(child.pid) for child in started))
    delete_left_folders(Path("temporary"))
    assert nothing_temporary_is_left()


def test_processes_that_ignore_sigterm_are_killed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "stubborn")
    with subprocess.Popen(tiny.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: tiny.hangs or process.poll() is not None)
        started = psutil.Process(process.pid).children(recursive=True)
        # The second signal asks for an immediate end.
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.poll() is not None or not all(is_alive(child.pid) for child in started))
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=_PATIENCE)

    assert process.returncode == 130, shown
    assert b"SIGKILL" in shown
    wait_until(lambda: not any(is_alive(child.pid) for child in started))
    assert nothing_temporary_is_left()


def test_ctrl_c_is_raised_after_all_processes_end(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")
    before = signal.getsignal(signal.SIGINT)

    def press() -> None:
        wait_until(lambda: tiny.hangs)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        syft_flwr.run(tiny.folder, tiny.data)
    presser.join()

    wait_until(lambda: not any(map(is_alive, tiny.pids())))
    assert nothing_temporary_is_left()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_main_py_stops_the_data_owners(
    number: signal.Signals, code: int, line: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syft_flwr.bootstrap(tiny.folder, aggregator=DS, datasites=[DO1, DO2])
    monkeypatch.setenv("TINY_TASK", "hang")
    started: dict[str, subprocess.Popen[str]] = {}
    for index, email in enumerate((DO1, DO2, DS)):
        config = tmp_path / f"{email}.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(tmp_path / "SyftBox")}))
        (tmp_path / "SyftBox").mkdir(exist_ok=True)
        environ = {"SYFTBOX_CLIENT_CONFIG_PATH": str(config), "SYFT_FLWR_HOME": str(tmp_path / "state")}
        data = {"DATA_DIR": str(tiny.data[index])} if email != DS else {}
        command = [sys.executable, str(tiny.folder / "main.py")]
        log = (tmp_path / f"{email}.log").open("w")
        with log:
            started[email] = subprocess.Popen(command, env=os.environ | environ | data, stderr=log, text=True)
    try:
        wait_until(lambda: tiny.hangs or started[DS].poll() is not None)
        started[DS].send_signal(number)
        assert started[DS].wait(_PATIENCE) == code
        # The stop request was sent, so both clients end by themselves.
        assert [started[email].wait(_PATIENCE) for email in (DO1, DO2)] == [0, 0]
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    said = (tmp_path / f"{DS}.log").read_text()
    assert said.splitlines()[-1] == line
    assert "Traceback" not in said


# Runs in an event loop


def test_event_loop_gets_a_task_and_is_not_blocked(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    async def notebook() -> tuple[syft_flwr.RecordedRun, int]:
        task = syft_flwr.run(tiny.folder, tiny.data)
        assert isinstance(task, asyncio.Task)
        turns = 0
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        return await task, turns

    result, turns = asyncio.run(notebook())

    assert result.state == "completed"
    assert turns > 10
    assert len(reports(Path("output"))) == 2


def test_cancelled_task_ends_after_all_processes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")

    async def notebook() -> None:
        task = syft_flwr.run(tiny.folder, tiny.data)
        assert isinstance(task, asyncio.Task)
        await asyncio.to_thread(wait_until, lambda: tiny.hangs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        clients_and_workers = [pid for index, pid in enumerate(tiny.pids()) if index % 3 < 2]
        assert not any(map(is_alive, clients_and_workers))

    asyncio.run(notebook())

    assert nothing_temporary_is_left()


def test_invalid_argument_raises_in_the_notebook_cell(tiny: Tiny) -> None:
    async def notebook() -> None:
        with pytest.raises(ConfigError, match="0 paths for 2 datasites"):
            syft_flwr.run(tiny.folder, [])

    asyncio.run(notebook())
