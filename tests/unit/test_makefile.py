"""The Makefile notices an environment of another Python, and tells a Python that is too old in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MAKEFILE = Path(__file__).parents[2] / "Makefile"
_STAMP = ".venv/.installed"
#: A Python that claims a version. ``-m venv`` makes an environment of itself, and ``-m pip`` does nothing.
_PYTHON = """\
#!{python}
import os, shutil, sys
sys.version_info = ({version}, 1, "final", 0)
sys.version = "{dotted}.1 (of a test)"
if sys.argv[1] == "-c":
    exec(sys.argv[2])
elif sys.argv[1:3] == ["-m", "venv"]:
    shutil.rmtree(sys.argv[-1], ignore_errors=True)
    os.makedirs(sys.argv[-1] + "/bin")
    shutil.copy(sys.argv[0], sys.argv[-1] + "/bin/python")
    shutil.copy("/bin/true", sys.argv[-1] + "/bin/uv")
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(_MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").touch()
    for minor in (10, 11, 12):
        python = tmp_path / "bin" / f"python3.{minor}"
        python.parent.mkdir(exist_ok=True)
        python.write_text(_PYTHON.format(python=sys.executable, version=f"3, {minor}", dotted=f"3.{minor}"))
        python.chmod(0o755)
    return tmp_path


def make(
    checkout: Path, *arguments: str, default: str = "python3.11", stamp: str = _STAMP
) -> subprocess.CompletedProcess[str]:
    """Run make where ``python3`` is the Python ``default``."""
    (checkout / "bin" / "python3").unlink(missing_ok=True)
    (checkout / "bin" / "python3").symlink_to(default)
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "MAKELEVEL"}}
    environ["PATH"] = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["make", *arguments, stamp], cwd=checkout, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def version(checkout: Path) -> str:
    python = checkout / ".venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", "print(sys.version.split()[0])"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_old_python_is_told_in_one_line_and_makes_nothing(checkout: Path) -> None:
    done = make(checkout, default="python3.10")
    first, *_ = done.stderr.splitlines()
    assert done.returncode != 0
    assert (
        first == "syft-flwr needs Python 3.11 or later, but python3 is 3.10.1. Name another one: make PYTHON=python3.12"
    )
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv").exists()


def test_environment_of_an_old_python_is_made_again(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(checkout / "bin" / "python3.10", checkout / ".venv" / "bin" / "python")
    (checkout / _STAMP).touch()
    assert make(checkout, default="python3.12").returncode == 0
    assert version(checkout) == "3.12.1"


def test_environment_of_a_removed_python_is_made_again(checkout: Path) -> None:
    assert make(checkout).returncode == 0
    (checkout / ".venv" / "bin" / "python").unlink()
    (checkout / ".venv" / "bin" / "python").symlink_to(checkout / "gone")
    assert make(checkout).returncode == 0
    assert version(checkout) == "3.11.1"


def test_named_python_replaces_the_environment_of_another(checkout: Path) -> None:
    assert make(checkout).returncode == 0
    assert make(checkout, "PYTHON=python3.12").returncode == 0
    assert version(checkout) == "3.12.1"
    assert "up to date" in make(checkout, "PYTHON=python3.12").stdout


def test_supported_environment_stays(checkout: Path) -> None:
    assert make(checkout, "PYTHON=python3.12").returncode == 0
    done = make(checkout)
    assert "up to date" in done.stdout
    assert version(checkout) == "3.12.1"


def test_locked_environment_has_only_locked_packages(checkout: Path) -> None:
    (checkout / "requirements.lock").touch()
    (checkout / "bin" / "python3.11").write_text(
        (checkout / "bin" / "python3.11").read_text()
        + 'elif sys.argv[1:3] == ["-m", "pip"]:\n    open("pip.txt", "a").write(" ".join(sys.argv[3:]) + "\\n")\n'
    )
    done = make(checkout, "LOCKED=1", stamp=".venv/.installed-locked")
    assert done.returncode == 0, done.stderr
    first, second = (checkout / "pip.txt").read_text().splitlines()
    assert "--require-hashes --requirement requirements.lock" in first
    assert "--no-deps --no-build-isolation" in second
