"""Shows workers that a command of the data owner starts: in another environment, behind a wrapper, or not at all."""

import os
import signal
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from faultkit.lone_worker import lone_worker
from waiting import PATIENCE, eventually

from syft_flwr.errors import ConfigError
from syft_flwr.software import __version__

#: A wrapper that passes on no signal: it ignores SIGTERM, and starts the worker in another session.
_DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.exit(subprocess.run(sys.argv[1:], start_new_session=True).returncode)
"""
#: Commands without a worker: the code of a program, and the text of the error.
_BROKEN = {
    "ends at once": ("import sys; sys.exit(4)", "its process ended while it started (exit status 4)"),
    "writes other text": ("print('Welcome to this machine'); input()", "the worker command wrote other text"),
    "has another release": (
        "print('syft-flwr-worker 9.9.9 3.11', flush=True); input()",
        f"the worker has syft-flwr 9.9.9, and the client has {__version__}",
    ),
    "ends without a newline": ("print('x', end='')", "the worker command wrote other text"),
}


def deaf(folder: Path) -> str:
    wrapper = folder / "deaf wrapper.py"
    wrapper.write_text(_DEAF)
    return f"{sys.executable} '{wrapper}' {sys.executable}"


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """Return the Python of another environment, which has the packages of this one."""
    venv.create(tmp_path / "other env", with_pip=False, symlinks=True)
    python = tmp_path / "other env" / "bin" / "python"
    (packages,) = (tmp_path / "other env" / "lib").glob("python*/site-packages")
    ours = [entry for entry in sys.path if "site-packages" in entry]
    # With site.addsitedir, so that the editable installation of this package is found there, too.
    (packages / "ours.pth").write_text("".join(f"import site; site.addsitedir({entry!r})\n" for entry in ours))
    return python


def test_worker_runs_in_another_environment(tmp_path: Path, other_python: Path) -> None:
    with lone_worker(tmp_path, command=f"'{other_python}'") as lone:
        assert lone.answer("argv")["executable"] == str(other_python)


def test_worker_behind_a_deaf_wrapper_serves_and_leaves(tmp_path: Path) -> None:
    with lone_worker(tmp_path, command=deaf(tmp_path)) as lone:
        worker = psutil.Process(int(lone.answer("tidy")["process"]))
    assert not worker.is_running()
    assert (tmp_path / "atexit").read_text() == "ran"


def test_stop_ends_a_worker_behind_a_deaf_wrapper(tmp_path: Path) -> None:
    with lone_worker(tmp_path, command=deaf(tmp_path)) as lone, ThreadPoolExecutor(1) as pool:
        worker = psutil.Process(int(lone.answer()["process"]))
        running = pool.submit(lone.error, "family", "deaf")
        eventually((tmp_path / "family").exists, "the app")
        lone.worker.kill()
        assert running.result(PATIENCE) == "stopped: the data owner stopped while the app ran"
        eventually(lambda: not worker.is_running(), "the end of the worker")


def test_killed_client_leaves_no_worker_behind_a_wrapper(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from faultkit.lone_worker import lone_worker\n"
        "with lone_worker(Path(sys.argv[1]), command=sys.argv[2]) as lone:\n"
        "    print(int(lone.answer()['process']), flush=True)\n"
        "    lone.run('family', 'work')\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), deaf(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
    ) as client:
        assert client.stdout
        worker = psutil.Process(int(client.stdout.readline()))
        wrapper = worker.parent()
        eventually((tmp_path / "family").exists, "the app")
        left = psutil.Process(int((tmp_path / "family").read_text()))
        client.kill()
    for process in (worker, wrapper, left):
        assert process is not None
        eventually(lambda process=process: not process.is_running(), f"the end of {process}")


@pytest.mark.parametrize("way", _BROKEN)
def test_command_without_a_worker_is_an_error(tmp_path: Path, logged: list[str], way: str) -> None:
    code, text = _BROKEN[way]
    (tmp_path / "broken.py").write_text(code)
    with lone_worker(tmp_path, command=f"{sys.executable} {tmp_path / 'broken.py'}") as lone:
        for _ in range(2):
            assert lone.error("echo").startswith(f"app-load: the ClientApp cannot be loaded: {text}")
    assert len([line for line in logged if line.startswith("ERROR")]) == 2


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="the system has no real-time signals")
def test_command_that_ends_by_a_nameless_signal_is_an_error(tmp_path: Path) -> None:
    number = signal.SIGRTMIN + 3
    with lone_worker(tmp_path, command=f"sh -c 'kill -{number:d} $$'") as lone:
        assert lone.error("echo").endswith(f"its process ended while it started (signal {number:d})")


def test_folder_that_is_not_utf8_is_a_config_error(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/clinic\xff"))
    with (
        pytest.raises(ConfigError, match=r"the worker cannot be given the folder .*/clinic\\udcff, because its name"),
        lone_worker(tmp_path, project=folder),
    ):
        pass


@pytest.mark.parametrize(("command", "text"), [("no-such-program", "No such file"), ("/etc", "Permission denied")])
def test_command_that_cannot_start_is_an_error(tmp_path: Path, logged: list[str], command: str, text: str) -> None:
    with lone_worker(tmp_path, command=command) as lone:
        lone.worker.warm_up()
        assert f"app-load: the ClientApp cannot be loaded: the worker command cannot be started: {text}" in lone.error(
            "echo"
        )
    assert "correct SYFT_FLWR_WORKER_COMMAND" in logged[0]
