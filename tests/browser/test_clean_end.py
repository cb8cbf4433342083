"""No process and no file of the browser is left, however a test ends."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="make browser-test installs selenium")

from browserkit.chromium import Chromium, processes_of
from waiting import eventually

_PROGRAM = """
import sys, time
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from browserkit.chromium import Chromium
with Chromium(Path(sys.argv[1])):
    print("started", flush=True)
    time.sleep(300)
"""
_TESTS = Path(__file__).parents[1]


@pytest.fixture
def folder(profile: Path) -> Iterator[Path]:
    """Return the path for the folder of another browser than the one of the other tests."""
    folder = profile.with_name("c")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def failed_test(folder: Path) -> None:
    with Chromium(folder) as chromium:
        chromium.driver.get("data:text/html,<title>shown</title>")
        assert chromium.driver.title == "shown"
        assert len(processes_of(folder)) > 3
        raise ArithmeticError


def test_browser_is_gone_after_a_failed_test(folder: Path) -> None:
    with pytest.raises(ArithmeticError):
        failed_test(folder)
    assert processes_of(folder) == []
    assert not folder.exists()


def test_browser_is_gone_after_a_failed_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Over pipes, the driver would wait a minute for the browser.
    monkeypatch.setattr("browserkit.chromium._ARGUMENTS", ("--headless",))
    monkeypatch.setattr("browserkit.chromium._browser", lambda: "/bin/false")
    with pytest.raises(Exception, match="session not created"), Chromium(folder):
        pass
    assert processes_of(folder) == []
    assert not folder.exists()


def test_browser_ends_with_a_killed_test(folder: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(folder), str(_TESTS / "browser"), str(_TESTS / "kits")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout
        try:
            assert tests.stdout.readline() == "started\n"
            assert len(processes_of(folder)) > 3
        finally:
            tests.send_signal(signal.SIGKILL)
    eventually(lambda: not processes_of(folder), "end of the browser", timeout=30)
