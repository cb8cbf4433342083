"""Ctrl-C ends a local run in an event loop within two seconds, and its outputs are plain and true."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from tiny_project import DO1, Tiny
from waiting import eventually

import syft_flwr

pytestmark = pytest.mark.e2e

_ASYNCIO = """
async def notebook():
    await syft_flwr.run(sys.argv[1], [sys.argv[2]])

try:
    asyncio.run(notebook())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
#: IPython raises out of its loop and keeps it for the next cell, so the task of the run stays where it is.
_IPYTHON = """
async def cell():
    await syft_flwr.run(sys.argv[1], [sys.argv[2]])

loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(cell())
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(60)
"""
#: The kernel of Jupyter turns Ctrl-C into a cancellation of the cell.
_JUPYTER = """
async def cell():
    await syft_flwr.run(sys.argv[1], [sys.argv[2]])

loop = asyncio.new_event_loop()
task = loop.create_task(cell())
signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(task.cancel))
try:
    loop.run_until_complete(task)
except asyncio.CancelledError:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    ("program", "task"),
    [(_ASYNCIO, "hang"), (_IPYTHON, "hang"), (_JUPYTER, "stubborn")],
    ids=["asyncio", "ipython", "jupyter"],
)
def test_interrupt_ends_an_awaited_run_in_two_seconds(tmp_path: Path, program: str, task: str) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    script = tmp_path / "notebook.py"
    script.write_text("import asyncio, signal, sys, time\nimport syft_flwr\n" + textwrap.dedent(program))
    environ = os.environ | {"TINY_TASK": task, "SYFT_FLWR_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, script, tiny.folder, tiny.data[0]]
    log = tmp_path / "notebook.log"
    with log.open("wb") as output, subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=output) as notebook:
        try:
            eventually(lambda: tiny.hangs, "the data owner works", 60)
            run = psutil.Process(notebook.pid).children(recursive=True)
            assert len(run) >= 3
            asked = time.monotonic()
            notebook.send_signal(signal.SIGINT)
            _, alive = psutil.wait_procs(run, timeout=10)
            took = time.monotonic() - asked
            assert not alive
            # The limit is two seconds. The rest is for a busy machine.
            assert took < 3, took
            eventually(lambda: "interrupted\n" in log.read_text(), "the cell ends")
            eventually(lambda: not list(tmp_path.glob("syft-flwr-run-*")), "the temporary folder is deleted")
        finally:
            notebook.kill()


def test_handler_of_a_notebook_is_back_after_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    monkeypatch.setenv("TINY_TASK", "silent")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    async def notebook() -> object:
        before = signal.getsignal(signal.SIGINT)
        task = syft_flwr.run(tiny.folder, tiny.data)
        assert isinstance(task, asyncio.Task)
        assert signal.getsignal(signal.SIGINT) != before
        run = await task
        await asyncio.sleep(0)
        assert signal.getsignal(signal.SIGINT) == before
        return run

    assert asyncio.run(notebook())


_COLOURS = """
import sys
from loguru import logger

sys.stderr.write("\\x1b[31mred of an app\\x1b[0m\\n\\x1b]0;title\\x07")
print("\\x1b[1mbold of an app\\x1b[0m")
logger.warning("a line of loguru")
"""


def test_logs_have_no_colours_and_output_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = Tiny(tmp_path)
    for name in ("server_app", "client_app"):
        module = tiny.folder / "tiny" / f"{name}.py"
        module.write_text(module.read_text() + _COLOURS)
    for name, value in {"TINY_TASK": "train", "SYFT_FLWR_HOME": str(tmp_path / "state"), "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    run = syft_flwr.run(tiny.folder, tiny.data, log_dir="logs", output_dir="made")

    assert not isinstance(run, asyncio.Task)
    assert run
    logs = {path.name: path.read_bytes() for path in Path("logs").iterdir()}
    assert len(logs) == 3
    for log in logs.values():
        for line in (b"red of an app\n", b"bold of an app\n", b"a line of loguru"):
            assert line in log
        assert b"\x1b" not in log
    # A line of Flower's own logger.
    assert any(b"[ROUND 1/2]" in log for log in logs.values())
    shown = capfd.readouterr().out
    assert f"output: none in {tmp_path / 'made'} (OUTPUT_DIR)" in shown
    assert str(tmp_path) in shown.partition("wrote to ")[2]


def test_output_line_names_a_folder_with_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    monkeypatch.setenv("TINY_TASK", "report")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert syft_flwr.run(tiny.folder, tiny.data, output_dir="made")
    assert f"output: {tmp_path / 'made'}\n" in capfd.readouterr().out
