"""With ``--format json``, standard output holds one JSON object, whatever the apps print."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hasty_command import HASTY_COMMAND
from tiny_project import DO1, DS, Tiny

pytestmark = pytest.mark.e2e
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
#: Prints through Python, through the descriptor as code in C does, through a child process, and at the exit.
_NOISE = """
import atexit, os, subprocess, sys

def make_noise(place):
    print("print in the", place)
    os.write(1, f"descriptor in the {place}\\n".encode())
    sys.__stdout__.write(f"first stream in the {place}\\n")
    subprocess.run(["echo", f"child in the {place}"], check=True)

atexit.register(make_noise, "exit")
make_noise("import")
"""


def test_json_alone_is_on_standard_output(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    for name in ("server_app", "client_app"):
        module = tiny.folder / "tiny" / f"{name}.py"
        noisy = module.read_text().replace("    task = os", '    make_noise("main")\n    task = os')
        module.write_text(_NOISE + noisy.replace("    names = [name", '    make_noise("message")\n    names = [name'))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SYFT")} | {
        "SYFTBOX_FOLDER": str(tmp_path / "box"),
        "SYFT_FLWR_HOME": str(tmp_path / "state"),
        "TINY_TASK": "report",
        "OUTPUT_DIR": str(tmp_path),
        "DATA_DIR": str(tiny.data[0]),
    }
    processes = [
        subprocess.Popen(
            [_COMMAND, role, str(tiny.folder), "--format", "json"],
            env=environ | {"SYFTBOX_EMAIL": email},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role, email in (("client", DO1), ("server", DS))
    ]
    try:
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, (out, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err
        assert json.loads(out)["success"] is True
    client, server = (err for _, err in outputs)
    for way in ("print", "descriptor", "first stream", "child"):
        assert f"{way} in the main" in server
        assert f"{way} in the exit" in server
        assert f"{way} in the message" in client


def test_json_of_a_failure_is_alone_too(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    module = tiny.folder / "tiny" / "server_app.py"
    module.write_text(_NOISE + module.read_text())
    environ = os.environ | {
        "SYFTBOX_FOLDER": str(tmp_path / "box"),
        "SYFT_FLWR_HOME": str(tmp_path / "state"),
        "SYFTBOX_EMAIL": DS,
        "TINY_TASK": "raise",
    }
    done = subprocess.run(
        [*HASTY_COMMAND, "server", str(tiny.folder), "--format", "json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "RunError"
    assert "print in the import" in done.stderr
