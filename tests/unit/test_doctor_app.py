"""The doctor loads the app of a project in a process of its own: a bad app cannot change, hang or end the doctor."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from examined import AGGREGATOR, Examined, check, only_problem
from tiny_project import DO1, DO2, Tiny

from syft_flwr.doctor import app_check, children
from syft_flwr.doctor.children import EndedEarlyError, TooLateError, run_child
from syft_flwr.doctor.findings import Finding
from syft_flwr.doctor.subject import Subject

Load = Callable[..., list[Finding]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that gives the project an app, and lets the doctor load it."""
    tiny = Tiny(tmp_path, AGGREGATOR)
    federation = Examined(tmp_path)

    def _load(text: str, email: str = DO1) -> list[Finding]:
        name = "client_app" if email == DO1 else "server_app"
        (tiny.folder / "tiny" / f"{name}.py").write_text(text)
        settings = federation.settings(email, datasites=[DO1, DO2])
        return check("app", Subject(settings, tiny.folder))

    return _load


def test_app_that_prints_and_leaves_threads_is_loaded(load: Load) -> None:
    text = """
import os, sys, threading, time
from flwr.clientapp import ClientApp
print('{"problem": "forged"}', flush=True)
os.write(1, b"more")
threading.Thread(target=time.sleep, args=(600,)).start()
app = ClientApp()
"""
    (found,) = load(text)
    assert (found.state, found.text) == ("ok", "tiny.client_app:app can be loaded")
    assert "tiny" not in sys.modules


def test_missing_package_of_the_app_is_named(load: Load) -> None:
    found = only_problem(load("import no_such_package\n", AGGREGATOR))
    assert "tiny.server_app:app" in found.text
    assert "ModuleNotFoundError: No module named 'no_such_package'" in found.text
    assert "install the packages" in found.fix


def test_app_that_ends_its_process_is_a_problem(load: Load) -> None:
    found = only_problem(load("import os\nos.kill(os.getpid(), 9)\n"))
    assert "the process ended without a result (signal 9)" in found.text


def test_app_of_another_kind_is_a_problem(load: Load) -> None:
    assert "it is a int, not a flwr ClientApp" in only_problem(load("app = 5\n")).text


def test_app_that_loads_without_end_is_unknown(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_check, "LIMIT", 1.5)
    (found,) = load("import subprocess, sys\nsubprocess.run(['sleep', '600'], start_new_session=True)\n")
    assert found.state == "unknown"
    assert "did not end within" in found.text


def test_text_of_an_app_is_inert(load: Load) -> None:
    found = only_problem(load("raise ImportError('\\x1b[31m red')\n"))
    assert "\x1b" not in found.text


def test_project_that_cannot_be_read_skips_the_app(tmp_path: Path) -> None:
    settings = Examined(tmp_path).settings()
    (found,) = check("app", Subject(settings, tmp_path))
    assert found.state == "skipped"


# The child


def test_command_that_cannot_be_started_is_told() -> None:
    with pytest.raises(EndedEarlyError, match="could not be started"):
        run_child("unused", [], 5.0, command="/no/such/python")


def test_child_is_given_up_on_request() -> None:
    with pytest.raises(EndedEarlyError, match="another process needs its place"):
        run_child("unused", [], 60.0, command="sh -c 'sleep 60' --", is_unwanted=lambda: True)


def test_child_ends_with_its_time() -> None:
    with pytest.raises(TooLateError):
        run_child("unused", [], 0.2, command="sh -c 'sleep 60' --")


def test_result_that_is_there_after_the_time_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "result").write_text('{"problem": ""}')
    stops = iter((0.0, 600.0))
    stopped = 0.0

    def later() -> float:
        nonlocal stopped
        stopped += next(stops, 0.0)
        return time.monotonic() + stopped

    monkeypatch.setattr(children, "time", SimpleNamespace(monotonic=later))
    # The process has ended before its parent looks.
    monkeypatch.setattr(children, "_PAUSE", 5.0)
    assert run_child("unused", [], 5.0, command=f"sh -c 'cat {tmp_path / 'result'}' --") == {"problem": ""}


@pytest.mark.parametrize("command", ["exec 1>&-; exec sleep 60", "while :; do echo x; done", "yes '' & sleep 60"])
def test_output_without_a_result_ends_with_the_time(command: str) -> None:
    started = time.monotonic()
    with pytest.raises(EndedEarlyError):
        run_child("unused", [], 0.5, command=f"sh -c '{command}' --")
    assert time.monotonic() - started < 30
