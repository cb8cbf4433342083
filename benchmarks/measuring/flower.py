"""Measure Flower's own deployment on this machine: a SuperLink, SuperNodes and the same apps, over loopback.

The connections are not encrypted. All processes come from the installed release and use its defaults, with three
exceptions: no installation of packages at run time, no telemetry, and no check for updates. All state is in a temporary
``FLWR_HOME``.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from measuring.plan import Plan, save
from measuring.processes import MeasurementError, Processes
from measuring.result import Result, Times
from measuring.workload import read_rounds

_BIN = Path(sys.executable).parent
_START = 60.0
_HOST = "127.0.0.1"

_PROJECT = """\
[project]
name = "benchmark"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "benchmark"

[tool.flwr.app.components]
serverapp = "benchmark_app.apps:server"
clientapp = "benchmark_app.apps:client"
"""

_APPS = """\
from pathlib import Path

from measuring.plan import Plan, load
from measuring.workload import client as echoing, make_server

root = Path({root!r})
client = echoing
server = make_server(load(root / "plan.json", Plan), root / "rounds.json")
"""

_CONNECTION = """\
[superlink]
default = "benchmark"

[superlink.benchmark]
address = "{address}"
insecure = true
"""


def measure(plan: Plan) -> Result:
    """Run a plan under Flower's deployment and return its result.

    Raises:
        MeasurementError: a process ended early or was too slow, or the ServerApp failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        root = Path(folder)
        save(root / "plan.json", plan)
        port, *node_ports = _free_ports(1 + plan.datasites)
        address = f"{_HOST}:{port}"
        environment = _prepare(root, address)
        with Processes(root) as processes:
            command = [_BIN / "flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
            processes.start("server", [*map(str, command), "--host", _HOST, "--port", str(port)], environment)
            _wait_until_healthy(f"http://{address}/health")
            for node_port in node_ports:
                command = [_BIN / "flower-supernode", "--insecure", "--superlink", address]
                processes.start("client", [*map(str, command), "--host", _HOST, "--port", str(node_port)], environment)
            _submit(root / "app", environment)
            # The start takes long: each SuperNode has two processes, which share few cores.
            starting = _START + 10 * plan.datasites
            processes.wait_for(root / "rounds.json", starting + plan.timeout * (plan.rounds + 1))
        rounds = read_rounds(root / "rounds.json")
        return Result(
            system="Flower's deployment",
            plan=plan,
            times=Times(rounds.seconds),
            good=rounds.good,
            server=processes.usage("server"),
            client=processes.usage("client"),
            memory_early=rounds.memory_early,
            memory_late=rounds.memory_late,
            log=processes.said("server"),
        )


def _prepare(root: Path, address: str) -> dict[str, str]:
    """Write the app and the configuration; return the environment variables for all processes."""
    package = root / "app" / "benchmark_app"
    package.mkdir(parents=True)
    (root / "app" / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "apps.py").write_text(_APPS.format(root=str(root)), encoding="utf-8")
    home = root / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(_CONNECTION.format(address=address), encoding="utf-8")
    return {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        # The SuperLink starts other programs by their names.
        "PATH": f"{_BIN}:/usr/bin:/bin",
    }


def _submit(app: Path, environment: dict[str, str]) -> None:
    command = [str(_BIN / "flwr"), "run", str(app), "benchmark", "--format", "json"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=_START, check=False
    )
    # The exit code is 0 even if the SuperLink refuses the app.
    if '"success": true' not in done.stdout:
        raise MeasurementError(f"flwr run did not accept the app\n{done.stdout}{done.stderr}")


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise MeasurementError(f"the SuperLink did not start within {_START:.0f} s") from error
            time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Return free ports. All sockets stay open until the end, so that the ports differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind((_HOST, 0))
        return [free.getsockname()[1] for free in sockets]
