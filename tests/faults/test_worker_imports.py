"""Shows how a worker imports its app: the names that the app may use, and exceptions at its import."""

import os
import textwrap
from pathlib import Path

import pytest
from faultkit.lone_worker import lone_worker
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from waiting import eventually

from syft_flwr.fl_orchestrator import pickled_app
from syft_flwr.fl_orchestrator.import_path import without_current_folder
from syft_flwr.fl_orchestrator.pickled_app import PickledApp
from syft_flwr.simulation.federation import Federation, Seat
from syft_flwr.simulation.folders import Folders, Sandbox
from syft_flwr.simulation.processes import Processes

_APP = """
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query("echo")
def echo(message, context):
    return Message(RecordDict({"answer": MetricRecord({"a": 1})}), reply_to=message)
"""
#: Statements at the import of an app, and the cause that the aggregator reads.
_IMPORTS = {
    "import argparse; p = argparse.ArgumentParser(); p.add_argument('x'); p.parse_args()": (
        "it ended the process while it was loaded (exit status 2)"
    ),
    "raise SystemExit('diverged')": "it ended the process while it was loaded (exit status 1)",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "import asyncio; raise asyncio.CancelledError('patient 4711')": "CancelledError",
    "raise GeneratorExit": "GeneratorExit",
    "class Own(BaseException): pass\nraise Own('patient 4711')": "Own",
    "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); raise KeyboardInterrupt": (
        "KeyboardInterrupt"
    ),
    "import os; os._exit(9)": "its process ended while it started (exit status 9)",
    "class E(ImportError):\n  def __str__(self): raise ValueError\nraise E": "E",
    "class E(ImportError):\n  name = property(lambda self: 1 / 0)\nraise E('patient 4711')": "E",
    "raise ImportError('/home/anna/patients.csv', name='/home/anna/patients.csv')": "ImportError",
    "from json import no_such_name": "ImportError: in an import from 'json'",
    "raise SyntaxError('/home/anna/patients.csv')": "SyntaxError",
    "import no_such_package": "ModuleNotFoundError: No module named 'no_such_package'",
}


def project(folder: Path, text: str) -> Path:
    made = folder / "project"
    made.mkdir()
    (made / "task.py").write_text(text)
    return made


@pytest.mark.parametrize("part", [0, 1])
def test_failed_import_is_app_load_with_its_cause(tmp_path: Path, part: int) -> None:
    with lone_worker(tmp_path, "task:app", project=project(tmp_path, "")) as lone:
        task = tmp_path / "project" / "task.py"
        # Each message loads the app again, in a new process.
        for statements, cause in list(_IMPORTS.items())[part::2]:
            task.write_text(statements)
            assert lone.error("echo") == f"app-load: the ClientApp cannot be loaded: {cause}", statements
        task.write_text(_APP)
        assert lone.answer() == {"a": 1}


def test_forked_child_of_a_client_keeps_no_worker(tmp_path: Path) -> None:
    with lone_worker(tmp_path, "task:app", project=project(tmp_path, _APP)) as lone:
        assert lone.answer() == {"a": 1}
        running = lone.worker._worker
        assert running is not None
        child = os.fork()
        if child == 0:
            os._exit(running._socket.fileno() == -1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert lone.answer() == {"a": 1}


def test_optional_arguments_at_import_take_their_defaults(tmp_path: Path) -> None:
    parse = "import argparse; p = argparse.ArgumentParser(); p.add_argument('--x'); p.parse_args()\n"
    with lone_worker(tmp_path, "task:app", project=project(tmp_path, parse + _APP)) as lone:
        assert lone.answer() == {"a": 1}


def test_modules_named_like_others_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path, _APP)
    for name in (
        "random",
        "signal",
        "queue",
        "typing",
        "logging",
        "json",
        "numbers",
        "secrets",
        "types",
        "code",
        "numpy",
    ):
        (folder / f"{name}.py").write_text("raise RuntimeError('not the library')")
    for name in ("flwr", "syft_flwr"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not the package')")
    monkeypatch.chdir(folder)
    # An empty part means the current folder.
    monkeypatch.setenv("PYTHONPATH", ":/nowhere")
    with lone_worker(tmp_path, "task:app", project=folder) as lone:
        assert lone.answer() == {"a": 1}


def make_false_packages(folder: Path) -> None:
    folder.mkdir()
    for name in ("loguru", "flwr", "syft_flwr", "pydantic", "numpy", "cloudpickle", "random", "sitecustomize"):
        (folder / f"{name}.py").write_text("import os; open('ran', 'w').close(); os._exit(99)")


@pytest.mark.parametrize("path", [":", ".", "./:x/..:/nowhere"])
def test_packages_of_the_current_folder_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    folder, here = project(tmp_path, _APP), tmp_path / "here"
    make_false_packages(here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", path)
    with lone_worker(tmp_path, "task:app", project=folder) as lone:
        assert lone.answer() == {"a": 1}
    assert not (here / "ran").exists()


def test_seat_runs_no_packages_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, here = tmp_path / "project", tmp_path / "here"
    folder.mkdir()
    (folder / "helper.py").write_text("TEXT = 'the app runs'")
    (folder / "main.py").write_text("import helper, loguru, flwr, numpy, random\nprint(helper.TEXT)\n")
    make_false_packages(here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", ":.:")
    log, seat = tmp_path / "seat.log", Seat("do@y.org", "client", "do")
    federation = Federation(folder, tmp_path / "base", "syftbox", "app", "ds@x.org", (seat.email,), (seat,))
    with Sandbox(federation, Folders(tmp_path, tmp_path), keep_files=False) as sandbox, Processes() as processes:
        process = processes.start(seat, folder, sandbox.environment(seat, tmp_path), log)
        eventually(lambda: process.poll() or not process.runs, "the end of the process")
    assert (process.exit_code, log.read_text().splitlines()[1:]) == (0, ["the app runs"])
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("", None),
        (":", None),
        (".", None),
        ("./:", None),
        ("x/..", None),
        (":/a::/b:", "/a:/b"),
        ("src:/a", "{here}/src:/a"),
        ("{here}", "{here}"),
    ],
)
def test_parts_that_mean_the_current_folder_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, left: str | None
) -> None:
    monkeypatch.chdir(tmp_path)

    changed = without_current_folder({"A": "b", "PYTHONPATH": path.format(here=tmp_path)})

    expected = {"A": "b"} if left is None else {"A": "b", "PYTHONPATH": left.format(here=tmp_path)}
    assert changed == expected


def notebook(cells: str) -> ClientApp:
    """Return the app of a notebook, whose cells run in ``__main__``."""
    names: dict[str, object] = {"__name__": "__main__"}
    exec(textwrap.dedent(cells), names)
    app = names["app"]
    assert isinstance(app, ClientApp)
    return app


def test_multiprocessing_takes_a_function_of_a_cell(tmp_path: Path) -> None:
    app = notebook("""
        import multiprocessing, pickle
        from flwr.app import Message, MetricRecord, RecordDict
        from flwr.clientapp import ClientApp

        class Point:
            def __init__(self, value):
                self.value = value

        def double(point):
            return Point(2 * point.value)

        app = ClientApp()

        @app.query("echo")
        def echo(message, context):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                points = pool.map(double, [Point(1), Point(2)])
            numbers = MetricRecord({"sum": sum(point.value for point in points)})
            return Message(RecordDict({"answer": numbers}), reply_to=message)
    """)
    pickled = PickledApp.make(app, tmp_path)
    assert pickled is not None
    with lone_worker(tmp_path, "", pickled=pickled) as lone:
        assert lone.answer() == {"sum": 6}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_process_without_the_notebook_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str], method: str) -> None:
    app = notebook(f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from flwr.clientapp import ClientApp

        def double(number):
            return 2 * number

        app = ClientApp()

        @app.query("echo")
        def echo(message, context):
            with ProcessPoolExecutor(1, multiprocessing.get_context("{method}")) as pool:
                return list(pool.map(double, [1]))
    """)
    pickled = PickledApp.make(app, tmp_path)
    assert pickled is not None
    with lone_worker(tmp_path, "", pickled=pickled) as lone:
        assert lone.error("echo") == "app-raised: the ClientApp raised BrokenProcessPool"
    assert "has no attribute 'double': a process that multiprocessing starts by spawn" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_takes_a_function_of_a_module(tmp_path: Path, method: str) -> None:
    folder = project(
        tmp_path,
        f"""
import multiprocessing
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numbers_of_mine import double

app = ClientApp()

@app.query("echo")
def echo(message, context):
    with multiprocessing.get_context("{method}").Pool(1) as pool:
        return Message(RecordDict({{"answer": MetricRecord({{"all": pool.map(double, [1, 2])}})}}), reply_to=message)
""",
    )
    (folder / "numbers_of_mine.py").write_text("def double(number):\n    return 2 * number\n")
    with lone_worker(tmp_path, "task:app", project=folder) as lone:
        assert lone.answer() == {"all": [2, 4]}


def test_app_with_much_data_is_a_warning(tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled_app, "LARGE", 1 << 20)
    data = bytes(range(256)) * 10_000
    app = ClientApp()

    @app.query("echo")
    def echo(message: Message, context: Context) -> Message:
        return Message(RecordDict({"answer": MetricRecord({"sum": sum(data)})}), reply_to=message)

    pickled = PickledApp.make(app, tmp_path)
    assert pickled is not None
    # The pickle is in a file without a name.
    assert list(tmp_path.iterdir()) == []
    with lone_worker(tmp_path, "", pickled=pickled) as lone:
        for _ in range(2):
            assert lone.answer() == {"sum": sum(data)}
            lone.worker._end_worker()
    assert any(line.startswith("WARNING the ClientApp refers to 2 MB of data") for line in logged)
