"""`syft_flwr.run` and `syft-flwr run`: whole federations as real processes, and every way in which they can end."""

import asyncio
import json
import os
import pty
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

import syft_flwr
from syft_flwr.errors import ConfigError, RunError
from syft_flwr.fl_orchestrator.nodes import node_id_of

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_DS, _DO1, _DO2 = "ds@research.org", "data@hospital-a.org", "data@hospital-b.org"
_PATIENCE = 60.0

_PYPROJECT = """\
[project]
name = "tiny"
version = "1.0.0"

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "tiny.server_app:app"
clientapp = "tiny.client_app:app"

[tool.syft_flwr]
app_name = "tiny"
aggregator = "{aggregator}"
datasites = {datasites}
"""
_SERVER_APP = """\
import json
import os
import signal
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    task = os.environ["TINY_TASK"]
    if task == "raise":
        raise ValueError("the plan of the data scientist does not work")
    if task == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    content = RecordDict({"config": ConfigRecord({})})
    tolerant = task in ("silent", "partly")
    for _ in range(2 if tolerant else 1):
        messages = [Message(content, node, f"query.{task}") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages, timeout=600)
    if tolerant:
        return
    if any(reply.has_error() for reply in replies):
        raise RuntimeError("somebody did not answer")
    reports = {str(reply.metadata.src_node_id): dict(reply.content["report"]) for reply in replies}
    Path(os.environ["OUTPUT_DIR"], "reports.json").write_text(json.dumps(reports))
"""
_CLIENT_APP = """\
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("report")
def report(message, context):
    names = [name for name in os.environ if name.startswith("SYFT") or name in ("OUTPUT_DIR", "GDRIVE_TOKEN_PATH")]
    data = Path(os.environ["DATA_DIR"], "data").read_text()
    record = ConfigRecord({"data": data, "names": sorted(names), "home": os.environ["SYFT_FLWR_HOME"]})
    return Message(RecordDict({"report": record}), reply_to=message)


@app.query("hang")
def hang(message, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    folder = Path(os.environ["DATA_DIR"])
    (folder / "pids.tmp").write_text(f"{os.getppid()} {os.getpid()} {child.pid}")
    (folder / "pids.tmp").rename(folder / "pids")
    time.sleep(600)


@app.query("stubborn")
def stubborn(message, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(message, context)


@app.query("silent")
def silent(message, context):
    if "hospital-b" in os.environ["DATA_DIR"]:
        raise ValueError("this data owner has nothing to say")
    return Message(RecordDict(), reply_to=message)


@app.query("partly")
def partly(message, context):
    first = Path(os.environ["DATA_DIR"], "first")
    if "hospital-b" in os.environ["DATA_DIR"] and not first.exists():
        first.touch()
        raise ValueError("not the first time")
    return Message(RecordDict(), reply_to=message)


@app.query("kill")
def kill(message, context):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
"""

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work, and have temporary folders made, where a test can see what is left of them."""
    folder = tmp_path / "work"
    (folder / "temporary").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def nothing_temporary_is_left() -> bool:
    return not list(Path("temporary").iterdir())


class Tiny:
    """A Flower project whose server asks for one task, and the data of its datasites."""

    def __init__(self, folder: Path, aggregator: str = _DS, datasites: tuple[str, ...] = (_DO1, _DO2)) -> None:
        self.folder = folder / "tiny"
        (self.folder / "tiny").mkdir(parents=True)
        (self.folder / "pyproject.toml").write_text(
            _PYPROJECT.format(aggregator=aggregator, datasites=json.dumps(datasites))
        )
        (self.folder / "tiny" / "__init__.py").touch()
        (self.folder / "tiny" / "server_app.py").write_text(_SERVER_APP)
        (self.folder / "tiny" / "client_app.py").write_text(_CLIENT_APP)
        self.data = [folder / "data" / email for email in datasites]
        for path in self.data:
            path.mkdir(parents=True)
            (path / "data").write_text(f"data of {path.name}")

    def command(self, *options: str) -> list[str]:
        return [_COMMAND, "run", str(self.folder), *(f"-m{path}" for path in self.data), *options]

    @property
    def hangs(self) -> bool:
        """Every datasite is in the middle of its task."""
        return all((path / "pids").exists() for path in self.data)

    def pids(self) -> list[int]:
        """The watcher, the worker and the worker's own child, of each datasite."""
        return [int(pid) for path in self.data for pid in (path / "pids").read_text().split()]


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Say whether a process can still do anything; whoever inherits an orphan takes a moment to collect it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def reports(output: Path) -> dict[str, dict[str, object]]:
    return dict(json.loads((output / "reports.json").read_text()))


# It runs


def test_the_example_learns_and_leaves_its_model_its_figures_and_a_log_each(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "diabetes"
    shutil.copytree(_EXAMPLE, project, ignore=shutil.ignore_patterns("output", ".sandbox", "logs"))
    emails = ["ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"]
    syft_flwr.bootstrap(project, aggregator=emails[0], datasites=emails[1:])
    data = [project / "data" / hospital / "private" for hospital in ("hospital_a", "hospital_b")]

    assert syft_flwr.run(project, data) is True

    results = json.loads(Path("output/results.json").read_text())
    assert results["rounds"][-1]["examination"]["accuracy"] >= 0.72
    assert Path("output/diabetes_model.npz").exists()
    (logs,) = (project / "logs").iterdir()
    assert sorted(path.name for path in logs.iterdir()) == sorted(f"{email}.log" for email in emails)
    assert "Hospital A alone" in (logs / f"{emails[0]}.log").read_text()
    shown = capfd.readouterr().out
    assert all(str(path) in shown for path in (*logs.iterdir(), Path("output").absolute()))
    rows = [line.split()[:-1] for line in shown.splitlines() if line.split()[2:3] == ["completed"]]
    # Participant, role, state, exit code, round and answers: two in each of 5 rounds, and three for "alone".
    assert rows == [
        [emails[0], "server", "completed", "0", "5/5", "26"],
        [emails[1], "client", "completed", "0", "13"],
        [emails[2], "client", "completed", "0", "13"],
    ]
    assert nothing_temporary_is_left()


def test_the_command_needs_no_main_file_and_says_so_in_json(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    done = subprocess.run(
        tiny.command("--format", "json", "--log-dir", "logs"), capture_output=True, timeout=_PATIENCE, check=False
    )

    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert (read["success"], read["answers"], read["failures"]) == (True, 2, 0)
    assert read["output"] == str(Path("output").absolute())
    assert [(each["email"], each["role"], each["exit-code"]) for each in read["participants"]] == [
        (_DS, "server", 0),
        (_DO1, "client", 0),
        (_DO2, "client", 0),
    ]
    assert all(Path(each["log"]).is_file() for each in read["participants"])
    assert b"completed" in done.stderr
    assert sorted(path.name for path in Path("logs").iterdir()) == sorted(f"{email}.log" for email in (_DS, _DO1, _DO2))
    assert nothing_temporary_is_left()


def test_each_datasite_finds_its_own_data_and_nothing_of_the_caller(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SYFTBOX_EMAIL", "SYFT_FLWR_MSG_TIMEOUT", "SYFT_FLWR_ENCRYPTION_ENABLED", "GDRIVE_TOKEN_PATH"):
        monkeypatch.setenv(name, "of the caller")
    monkeypatch.setenv("SYFTBOX_CLIENT_CONFIG_PATH", str(tmp_path / "missing.json"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data) is True

    found = reports(tmp_path / "mine")
    assert {node: report["data"] for node, report in found.items()} == {
        str(node_id_of(email)): f"data of {email}" for email in (_DO1, _DO2)
    }
    assert len({report["home"] for report in found.values()}) == 2
    for report in found.values():
        assert set(report["names"]) == {  # type: ignore[call-overload]
            "SYFTBOX_CLIENT_CONFIG_PATH",
            "SYFT_FLWR_AGGREGATOR",
            "SYFT_FLWR_APP_NAME",
            "SYFT_FLWR_DATASITES",
            "SYFT_FLWR_HOME",
            "SYFT_FLWR_ROLE",
            "SYFT_FLWR_TRANSPORT",
        }


def test_an_aggregator_that_is_also_a_datasite_takes_both_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Tiny(tmp_path, aggregator=_DO1)
    syft_flwr.bootstrap(tiny.folder, aggregator=_DO1, datasites=[_DO1, _DO2])
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data, output_dir="both", log_dir="logs") is True

    assert len(reports(Path("both"))) == 2
    assert {path.name for path in Path("logs").iterdir()} == {
        f"{_DO1}.server.log",
        f"{_DO1}.client.log",
        f"{_DO2}.log",
    }


def test_two_runs_of_one_project_at_once_do_not_meet(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_temporary_folder_stays_if_it_is_asked_for(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data, keep=True) is True

    (kept,) = Path("temporary").iterdir()
    assert {path.name for path in kept.iterdir()} == {"SyftBox", _DS, _DO1, _DO2}
    assert json.loads((kept / _DO2 / "config.json").read_text())["email"] == _DO2
    # A run that is over leaves no message in anybody's datasite.
    assert not [path for path in kept.rglob("*") if path.suffix in {".request", ".response", ".blob"}]


def test_a_terminal_shows_a_table_that_changes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
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
            # How a Linux terminal says that its last user is gone.
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    assert b"starting" in shown
    assert b"completed" in shown
    assert shown.count(b"Participant") > 2
    # The table is drawn over the one before it.
    assert b"\x1b[1A" in shown


# It is not started


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_paths_must_be_that_of_the_datasites(tiny: Tiny, count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} paths? for 2 datasites") as caught:
        syft_flwr.run(tiny.folder, [*tiny.data, *tiny.data][:count])

    assert f"{_DO1}, {_DO2}" in caught.value.hint
    assert not Path("output").exists()
    assert nothing_temporary_is_left()


def test_the_command_ends_with_usage_if_paths_are_missing(tiny: Tiny) -> None:
    done = subprocess.run(tiny.command()[:-1], capture_output=True, text=True, timeout=_PATIENCE, check=False)

    assert done.returncode == 2
    assert "1 path for 2 datasites" in done.stderr


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (None, {"transport": "pigeon"}, "transport"),
        (None, {"timeout": 0}, "timeout"),
        ("one path", {}, "expected a list of paths"),
        (["no-such-folder", "no-such-folder"], {}, f"mock data of {_DO1}: .*no-such-folder does not exist"),
        (None, {"log_dir": "/dev/null/logs"}, "cannot be made: /dev/null"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_before_anything_starts(
    tiny: Tiny, paths: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        syft_flwr.run(tiny.folder, tiny.data if paths is None else paths, **options)  # type: ignore[arg-type]

    assert nothing_temporary_is_left()


def test_a_project_that_names_nobody_is_refused(tiny: Tiny) -> None:
    text = (tiny.folder / "pyproject.toml").read_text()
    (tiny.folder / "pyproject.toml").write_text(text.partition("[tool.syft_flwr]")[0])

    with pytest.raises(ConfigError, match="aggregator is not set"):
        syft_flwr.run(tiny.folder, tiny.data)


def test_a_process_that_cannot_be_started_leaves_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")

    with pytest.raises(RunError, match=f"{_DS} cannot be started"):
        syft_flwr.run(tiny.folder, tiny.data)

    assert nothing_temporary_is_left()


# It fails


def test_a_server_app_that_raises_makes_the_command_fail_and_shows_why(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TASK", "raise")

    done = subprocess.run(tiny.command(), capture_output=True, text=True, timeout=_PATIENCE, check=False)

    assert done.returncode == 1
    assert "the plan of the data scientist does not work" in done.stdout
    assert f"{_DS} ended with 1" in done.stdout
    assert "Error: the run failed" in done.stderr
    assert nothing_temporary_is_left()


def test_a_client_app_that_cannot_be_imported_is_told_at_once(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tiny.folder / "tiny" / "client_app.py").write_text("import no_such_library\n")
    monkeypatch.setenv("TINY_TASK", "report")

    assert syft_flwr.run(tiny.folder, tiny.data) is False

    shown = capfd.readouterr().out
    for email in (_DO1, _DO2):
        assert f"{email}: 1 failed, the last with app-load: the ClientApp cannot be loaded" in shown
        assert f"--- the end of {next(tiny.folder.glob('logs/*'))}/{email}.log" in shown
    assert "no_such_library" in shown


def test_a_data_owner_that_never_gave_a_good_answer_makes_the_run_fail(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TASK", "silent")

    done = subprocess.run(
        tiny.command("--log-dir", "logs"), capture_output=True, text=True, timeout=_PATIENCE, check=False
    )

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith(f"every answer of {_DO2} failed")
    assert f"{_DO2}: 2 failed, the last with app-raised: the ClientApp raised ValueError" in done.stdout
    shown = [line for line in done.stdout.splitlines() if line.startswith("--- the end of")]
    assert shown == [f"--- the end of {Path('logs').absolute()}/{_DO2}.log"]
    assert "this data owner has nothing to say" in done.stdout
    assert f"Error: the run failed: every answer of {_DO2} failed" in done.stderr


def test_a_run_in_which_some_answers_failed_says_so_and_succeeds(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINY_TASK", "partly")

    assert syft_flwr.run(tiny.folder, tiny.data) is True

    shown = capfd.readouterr().out
    assert "The run was completed, but 1 of 4 answers failed" in shown.splitlines()[-1]
    assert f"{_DO2}: 1 failed, the last with app-raised" in shown


def test_a_data_owner_that_dies_ends_the_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINY_TASK", "kill")

    assert syft_flwr.run(tiny.folder, tiny.data) is False

    assert "hospital" in (shown := capfd.readouterr().out)
    assert "ended with SIGKILL" in shown
    assert nothing_temporary_is_left()


def test_a_data_owner_that_leaves_before_the_end_ends_the_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    syft_flwr.bootstrap(tiny.folder, aggregator=_DS, datasites=[_DO1, _DO2])
    main = tiny.folder / "main.py"
    leave = 'import os\nif "hospital-b" in os.environ["SYFTBOX_CLIENT_CONFIG_PATH"]:\n    raise SystemExit(0)\n'
    main.write_text(leave + main.read_text())
    monkeypatch.setenv("TINY_TASK", "hang")

    assert syft_flwr.run(tiny.folder, tiny.data) is False

    assert f"{_DO2} ended before the run was over" in capfd.readouterr().out


# It is ended


def test_a_run_over_its_time_limit_fails_and_leaves_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")

    assert syft_flwr.run(tiny.folder, tiny.data, timeout=3) is False

    assert "it was not over after 3 s" in capfd.readouterr().out
    assert nothing_temporary_is_left()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_in_the_middle_leaves_no_process(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")
    with subprocess.Popen(tiny.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: tiny.hangs or process.poll() is not None)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        shown, _ = process.communicate(timeout=_PATIENCE)

    assert process.returncode == code, shown
    # Server, and for each data owner a watcher, a worker and the worker's child.
    assert len(started) == 7
    assert {child.pid for child in started} > set(tiny.pids())
    # After SIGKILL nobody is left to wait for them, and what the system was told to kill takes it a moment.
    wait_until(lambda: not any(is_alive(child.pid) for child in started))
    assert number is signal.SIGKILL or nothing_temporary_is_left()


def test_who_ignores_that_they_are_asked_to_end_is_killed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "stubborn")
    with subprocess.Popen(tiny.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: tiny.hangs or process.poll() is not None)
        started = psutil.Process(process.pid).children(recursive=True)
        # The second time says that there is no time to ask.
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.poll() is not None or not all(is_alive(child.pid) for child in started))
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=_PATIENCE)

    assert process.returncode == 130, shown
    assert b"SIGKILL" in shown
    wait_until(lambda: not any(is_alive(child.pid) for child in started))
    assert nothing_temporary_is_left()


def test_ctrl_c_from_python_comes_after_everything_has_ended(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_main_py_that_is_asked_to_end_is_quiet_and_the_data_owners_hear_of_it(
    number: signal.Signals, code: int, line: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syft_flwr.bootstrap(tiny.folder, aggregator=_DS, datasites=[_DO1, _DO2])
    monkeypatch.setenv("TINY_TASK", "hang")
    started: dict[str, subprocess.Popen[str]] = {}
    for index, email in enumerate((_DO1, _DO2, _DS)):
        config = tmp_path / f"{email}.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(tmp_path / "SyftBox")}))
        (tmp_path / "SyftBox").mkdir(exist_ok=True)
        environ = {"SYFTBOX_CLIENT_CONFIG_PATH": str(config), "SYFT_FLWR_HOME": str(tmp_path / "state")}
        data = {"DATA_DIR": str(tiny.data[index])} if email != _DS else {}
        command = [sys.executable, str(tiny.folder / "main.py")]
        log = (tmp_path / f"{email}.log").open("w")
        with log:
            started[email] = subprocess.Popen(command, env=os.environ | environ | data, stderr=log, text=True)
    try:
        wait_until(lambda: tiny.hangs or started[_DS].poll() is not None)
        started[_DS].send_signal(number)
        assert started[_DS].wait(_PATIENCE) == code
        # The stop signal was sent, so both end by themselves.
        assert [started[email].wait(_PATIENCE) for email in (_DO1, _DO2)] == [0, 0]
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    said = (tmp_path / f"{_DS}.log").read_text()
    assert said.splitlines()[-1] == line
    assert "Traceback" not in said


# It runs beside an event loop


def test_a_running_event_loop_gets_a_task_and_is_not_blocked(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "report")

    async def notebook() -> tuple[bool, int]:
        task = syft_flwr.run(tiny.folder, tiny.data)
        assert isinstance(task, asyncio.Task)
        turns = 0
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        return await task, turns

    succeeded, turns = asyncio.run(notebook())

    assert succeeded is True
    assert turns > 10
    assert len(reports(Path("output"))) == 2


def test_a_cancelled_task_is_over_when_every_process_is(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")

    async def notebook() -> None:
        task = syft_flwr.run(tiny.folder, tiny.data)
        assert isinstance(task, asyncio.Task)
        await asyncio.to_thread(wait_until, lambda: tiny.hangs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        watchers_and_workers = [pid for index, pid in enumerate(tiny.pids()) if index % 3 < 2]
        assert not any(map(is_alive, watchers_and_workers))

    asyncio.run(notebook())

    assert nothing_temporary_is_left()


def test_a_bad_argument_is_told_in_the_cell_that_has_it(tiny: Tiny) -> None:
    async def notebook() -> None:
        with pytest.raises(ConfigError, match="0 paths for 2 datasites"):
            syft_flwr.run(tiny.folder, [])

    asyncio.run(notebook())
