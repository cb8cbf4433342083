"""Templates are found in a checkout and in an installed wheel."""

import subprocess
import sys
from pathlib import Path

import pytest

import syft_flwr
from syft_flwr.errors import ConfigError
from syft_flwr.template import read_template

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = CHECKOUT / "templates" / "main.py.tpl"
SHOW = (
    "import sys, syft_flwr; from syft_flwr.template import read_template;"
    " sys.stdout.write(syft_flwr.__file__ + '\\n' + read_template('main.py.tpl'))"
)


def run(*command: str | Path, cwd: Path) -> str:
    command = tuple(map(str, command))
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_editable_install_uses_checkout_templates(tmp_path: Path) -> None:
    assert Path(syft_flwr.__file__).is_relative_to(CHECKOUT)

    place, _, text = run(sys.executable, "-I", "-c", SHOW, cwd=tmp_path).partition("\n")

    assert Path(place).is_relative_to(CHECKOUT / "src")
    assert text == TEMPLATE.read_text()


def test_wheel_contains_the_templates(tmp_path: Path) -> None:
    uv = (sys.executable, "-m", "uv", "--quiet")
    run(*uv, "build", "--wheel", "--out-dir", tmp_path, CHECKOUT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(*uv, "venv", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(*uv, "pip", "install", "--no-deps", "--python", python, wheel, cwd=tmp_path)

    place, _, text = run(python, "-I", "-c", SHOW, cwd=tmp_path).partition("\n")

    assert Path(place).is_relative_to(tmp_path / "venv")
    assert text == TEMPLATE.read_text()


def test_missing_template_is_named_in_the_error() -> None:
    with pytest.raises(ConfigError, match=r"nothing\.tpl"):
        read_template("nothing.tpl")
