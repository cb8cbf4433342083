"""``syft-flwr run --transport p2p``: the diabetes example as real processes over an emulated Google Drive."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from syft_flwr import bootstrap

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_EMAILS = ("ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org")
_PATIENCE = 110.0

pytestmark = pytest.mark.e2e


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "diabetes"
    shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("logs", "output", "__pycache__"))
    bootstrap(folder, _EMAILS[0], list(_EMAILS[1:]), transport="p2p")
    monkeypatch.chdir(tmp_path)
    # A killed run leaves its temporary folder.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return folder


def command(project: Path, *options: str) -> list[str]:
    data = [
        argument for hospital in "ab" for argument in ("-m", str(project / "data" / f"hospital_{hospital}" / "mock"))
    ]
    return [str(Path(sys.executable).with_name("syft-flwr")), "run", str(project), *data, *options]


def test_drive_run_reports_usage_per_participant(project: Path) -> None:
    done = subprocess.run(
        [*command(project, "--format", "json"), "--output-dir", "output"],
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    # Two replies in each of five rounds of training and of evaluation, and three for each hospital alone.
    assert (read["success"], read["answers"], read["failures"]) == (True, 26, 0)
    assert {used["email"] for used in read["drive"]} == set(_EMAILS)
    for used in read["drive"]:
        assert 0 < used["requests"] <= used["calls"] < used["units"]
        assert used["bytes-up"] > 10_000
        assert used["bytes-down"] > 10_000
    shown = done.stderr.decode()
    assert "Google Drive" in shown
    assert "per round:" in shown
    assert {path.name for path in Path("output").iterdir()} == {"diabetes_model.npz", "results.json"}


def test_killed_drive_run_leaves_no_process(project: Path) -> None:
    with subprocess.Popen(command(project), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + _PATIENCE
        while len(started := psutil.Process(process.pid).children(recursive=True)) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert len(started) >= 4
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
