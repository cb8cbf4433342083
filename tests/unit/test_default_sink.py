"""Loguru's default destination during a run: replaced if it is the only one, put back at the end, never in the user's way."""

import subprocess
import sys
from pathlib import Path

import pytest

_BEGIN = """
import sys
import types
import loguru
from syft_flwr.log import logger, quiet_default_sink

theirs = loguru.logger
# A line belongs to the package whose module logs it.
ours = types.ModuleType("syft_flwr.example")
ours.logger = logger
exec('''
def info(text): logger.info(text)
def warning(text): logger.warning(text)
def fail(text): logger.exception(text)
''', vars(ours))

def log():
    ours.info("our info")
    ours.warning("our \\x1b[31m warning")
    theirs.debug("their debug")
    secret = "the value"
    try:
        raise KeyError(secret[0])
    except KeyError:
        ours.fail("our error")
"""


def errors_of(folder: Path, program: str) -> str:
    """Return the standard error of a program with loguru as it is after its import."""
    # Only with its source, loguru shows the values of variables.
    script = folder / "program.py"
    script.write_text(_BEGIN + program)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return done.stderr


def test_default_is_replaced_while_a_run_lasts(tmp_path: Path) -> None:
    errors = errors_of(
        tmp_path,
        """
with quiet_default_sink():
    with quiet_default_sink():
        log()
    ours.info("still quiet")
print("---", file=sys.stderr)
log()
""",
    )
    during, after = errors.split("---\n")
    lines = during.splitlines()

    assert "WARNING  our \\x1b[31m warning" in lines[0]
    assert "DEBUG    __main__:" in lines[1]
    assert "ERROR    our error" in lines[2]
    assert "  Traceback (most recent call last):" in lines[3]
    assert "the value" not in during
    assert "info" not in during
    assert "quiet" not in during
    assert "our info" in after
    assert "the value" in after


@pytest.mark.parametrize("call", ["remove(0)", "remove()"])
def test_user_may_remove_the_default_at_any_time(tmp_path: Path, call: str) -> None:
    assert errors_of(tmp_path, f"theirs.{call}\nwith quiet_default_sink(): log()\nlog()") == ""
    assert errors_of(tmp_path, f"with quiet_default_sink():\n    theirs.{call}\n    log()\nlog()") == ""
    assert errors_of(tmp_path, f"with quiet_default_sink(): pass\ntheirs.{call}\nlog()") == ""


def test_destinations_of_the_user_are_left_alone(tmp_path: Path) -> None:
    errors = errors_of(
        tmp_path,
        """
theirs.remove()
theirs.add(sys.stderr, level="INFO", format="mine {level} {message}", diagnose=False)
with quiet_default_sink():
    log()
    theirs.add(sys.stderr, level="ERROR", format="later {message}", diagnose=False)
    ours.fail("end")
""",
    )
    lines = errors.splitlines()
    assert lines[:2] == ["mine INFO our info", "mine WARNING our \\x1b[31m warning"]
    assert [line for line in lines if line.endswith("end")] == ["mine ERROR end", "later end"]


def test_standard_error_of_a_notebook_gets_the_lines(tmp_path: Path) -> None:
    errors = errors_of(
        tmp_path,
        """
import io
from contextlib import redirect_stderr
with quiet_default_sink(), redirect_stderr(io.StringIO()) as cell:
    ours.warning("in the cell")
assert cell.getvalue().endswith("in the cell\\n")
""",
    )
    assert errors == ""
