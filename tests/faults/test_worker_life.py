"""Shows how a worker treats apps with bad manners: their exceptions, streams, threads and processes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from faultkit.lone_worker import LoneWorker, lone_worker
from waiting import PATIENCE, eventually

ENDS = {
    "exit": "exit status 3",
    "exit_text": "exit status 1",
    "exit_none": "exit status 0",
    "interrupt": "KeyboardInterrupt",
    "cancel": "CancelledError",
    "generator": "GeneratorExit",
    "own": "OwnEnd",
}
#: Names of exceptions, and the type that the aggregator reads.
BROKEN = {
    "unprintable": "UnprintableError",
    "wrong_text": "WrongTextError",
    "huge": "HugeError",
    "nameless": "NamelessError",
    "unpicklable": "UnpicklableError",
    "memory": "MemoryError",
    "control": "a class without a valid name",
    "group": "ExceptionGroup",
    "recursion": "RecursionError",
}


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[LoneWorker]:
    with lone_worker(tmp_path) as lone:
        yield lone


def test_exception_that_ends_a_process_is_worker_died(lone: LoneWorker, logged: list[str]) -> None:
    before = lone.answer()["process"]
    for name, cause in ENDS.items():
        logged.clear()
        text = lone.error("raise", name, thread=name in {"cancel", "interrupt"})
        assert text == f"worker-died: the ClientApp's process ended in the middle of the message ({cause})"
        assert any("ended its process on message" in entry for entry in logged), name
        after = lone.answer()["process"]
        assert after != before, name
        before = after


def test_broken_exception_is_app_raised(lone: LoneWorker, logged: list[str]) -> None:
    before = lone.answer()["process"]
    for name, kind in BROKEN.items():
        assert lone.error("raise", name) == f"app-raised: the ClientApp raised {kind}"
        entry = logged.pop()
        assert "failed (reference " in entry
        assert len(entry) < 100_000
    assert lone.answer()["process"] == before


def test_app_that_uses_all_streams_gets_its_reply(
    lone: LoneWorker, capsys: pytest.CaptureFixture[str], logged: list[str]
) -> None:
    before = lone.answer()["process"]
    assert lone.answer("streams")["process"] == before
    shown = capsys.readouterr()
    assert "printed by the app\nwritten by the app\nprinted by a child\ndone\n" in shown.err
    assert shown.out == ""
    # It has no standard stream any more, and its errors are still told.
    assert lone.error("raise", "memory") == "app-raised: the ClientApp raised MemoryError"
    assert "MemoryError" in logged[-1]


#: Statements of an app that change its whole process. The worker must serve on.
MANNERS = (
    "import logging, loguru; logging.shutdown(); loguru.logger.remove()",
    "import shutil, tempfile; folder = tempfile.mkdtemp(); os.chdir(folder); shutil.rmtree(folder)",
    "import io; sys.stdout, sys.stderr, sys.stdin = io.StringIO(), None, None",
    "signal.signal(signal.SIGTERM, lambda *_: None); signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "import socket; socket.setdefaulttimeout(0.001)",
    "import warnings; warnings.simplefilter('error')",
    "os.umask(0o777); context.state['n'] = MetricRecord({'a': 1})",
    "thread = threading.Thread(target=sys.exit, args=(3,)); thread.start(); thread.join()",
    "os.environ.clear()",
    "sys.argv.append('x'); sys.path.clear()",
    "sys.excepthook = None; sys.unraisablehook = None",
    "import builtins; builtins.print = None; builtins.open = None",
)


def test_app_that_changes_its_process_gets_its_reply(lone: LoneWorker) -> None:
    before = lone.answer()["process"]
    for statements in MANNERS:
        assert lone.answer("statements", statements)["process"] == before, statements
    assert lone.error("raise", "memory") == "app-raised: the ClientApp raised MemoryError"


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("reopen", "exit status 1"), ("write", "it wrote something else than a reply to its connection")],
)
def test_app_that_breaks_its_connection_is_worker_died(lone: LoneWorker, kind: str, cause: str) -> None:
    assert lone.error(kind) == f"worker-died: the ClientApp's process ended in the middle of the message ({cause})"


def test_app_sees_a_bare_argv_and_no_current_folder(lone: LoneWorker) -> None:
    seen = lone.answer("argv")
    assert seen["argv"] == ["syft-flwr-worker"]
    assert "(empty)" not in seen["path"]
    assert str(Path.cwd()) not in seen["path"]


@pytest.mark.parametrize("thread", [False, True])
def test_normal_end_runs_handlers_and_flushes(tmp_path: Path, thread: bool) -> None:
    with lone_worker(tmp_path) as lone:
        lone.answer("tidy", thread=thread)
    assert (tmp_path / "atexit").read_text() == "ran"
    assert (tmp_path / "unflushed").read_text() == "flushed"


@pytest.mark.parametrize("way", ["die", "answer"])
def test_process_in_its_own_session_ends_too(tmp_path: Path, logged: list[str], way: str) -> None:
    with lone_worker(tmp_path) as lone:
        lone.run("family", way)
        left = (tmp_path / "family").read_text().strip()
    eventually(lambda: not psutil.pid_exists(int(left)), "the end of the process")
    assert any(line.startswith("INFO ended processes") and left in line for line in logged)


@pytest.mark.parametrize("way", ["work", "deaf"])
def test_stop_ends_processes_in_sessions_of_their_own(tmp_path: Path, way: str) -> None:
    with lone_worker(tmp_path) as lone, ThreadPoolExecutor(1) as pool:
        running = pool.submit(lone.error, "family", way)
        left = eventually(lambda: (tmp_path / "family").exists() and (tmp_path / "family").read_text(), "the app")
        lone.worker.kill()
        assert running.result(PATIENCE) == "stopped: the data owner stopped while the app ran"
        eventually(lambda: not psutil.pid_exists(int(left)), "the end of the process")


def test_experienced_worker_gets_a_second_try(tmp_path: Path, logged: list[str]) -> None:
    with lone_worker(tmp_path) as lone:
        before = lone.answer()["process"]
        assert lone.answer("grow", "1")["process"] != before
        assert (tmp_path / "attempts").read_text() == "xx"
        assert any("a new one tries the message again" in line for line in logged)


def test_first_message_is_not_tried_again(tmp_path: Path) -> None:
    with lone_worker(tmp_path) as lone:
        assert "signal SIGKILL" in lone.error("grow", "1")
        assert (tmp_path / "attempts").read_text() == "x"


def test_message_is_tried_twice_at_most(tmp_path: Path) -> None:
    with lone_worker(tmp_path) as lone:
        lone.answer()
        assert "signal SIGKILL" in lone.error("grow", "9")
        assert (tmp_path / "attempts").read_text() == "xx"


def test_forked_child_that_returns_sends_no_reply(lone: LoneWorker) -> None:
    before = lone.answer()["process"]
    assert lone.answer("fork")["process"] == before
    assert lone.answer()["process"] == before


#: Statements for each place of an app that can raise: at the begin and end of its lifespan, and in a mod.
_PLACES = {
    "begin": ("raise_it(name)", "", ""),
    "end": ("", "raise_it(name)", ""),
    "mod": ("", "", "raise_it(name)"),
}
_APP_OF_PLACES = """
import asyncio
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

def raise_it(name):
    raise {{"value": ValueError, "cancel": asyncio.CancelledError}}[name]

def mod(message, context, call_next):
    name = str(message.content["config"]["name"])
    if name:
        {2}
        pass
    return call_next(message, context)

app = ClientApp(mods=[mod])
asked = []

@app.lifespan()
def lifespan(context):
    name = open({3!r}).read()
    if name:
        {0}
        pass
    yield
    if name:
        {1}
        pass

class Broken:
    def __del__(self):
        raise KeyboardInterrupt

@app.query("echo")
def echo(message, context):
    Broken()
    return Message(RecordDict({{"answer": MetricRecord({{"a": 1}})}}), reply_to=message)
"""


@pytest.mark.parametrize("place", _PLACES)
def test_exception_around_the_app_gives_one_error(tmp_path: Path, place: str) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "places.py").write_text(_APP_OF_PLACES.format(*_PLACES[place], str(asked)))
    asked.write_text("")
    with lone_worker(tmp_path, "places:app", project=tmp_path) as lone:
        assert lone.answer() == {"a": 1}
        for name, text in {
            "value": "app-raised: the ClientApp raised ValueError",
            "cancel": "worker-died: the ClientApp's process ended in the middle of the message (CancelledError)",
        }.items():
            asked.write_text(name)
            assert lone.error("echo", name) == text
        asked.write_text("")
        assert lone.answer() == {"a": 1}
