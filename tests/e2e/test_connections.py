"""The connections of real processes during a run: only those of their transport, no open port, no usage statistics."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from faithful_settings import faithful_settings
from tiny_project import DO1, DO2, DS, Tiny
from traced_program import addresses_in, can_trace, ports_in, traced

from syft_flwr.emulators.gdrive import Emulator
from syft_flwr.emulators.syftbox import SyftBoxNetwork

_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_PATIENCE = 120.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace"),
]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    # As at a user, who has not turned off the usage statistics of Flower.
    monkeypatch.delenv("FLWR_TELEMETRY_ENABLED")
    return Tiny(tmp_path)


@pytest.fixture
def local_api() -> Iterator[int]:
    """Yield the port of a service in the place of the local API of the SyftBox clients."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def _train(tiny: Tiny, environments: Mapping[str, Mapping[str, str]], tmp_path: Path) -> dict[str, Path]:
    """Run a training with a process for each participant, and return the recorded calls of each one."""
    processes, traces = {}, {}
    for email, environ in environments.items():
        traces[email] = tmp_path / f"{email}.trace"
        role = "server" if email == DS else "client"
        common = {
            "HOME": str(tmp_path / "homes" / email),
            "DATA_DIR": str(tmp_path),
            "SYFT_FLWR_POLL_INTERVAL": "1",
            "TINY_TASK": "train",
        }
        (tmp_path / "homes" / email).mkdir(parents=True)
        processes[email] = subprocess.Popen(
            traced([_COMMAND, role, str(tiny.folder)], traces[email]),
            env={**os.environ, **common, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        output = {email: process.communicate(timeout=_PATIENCE)[0] for email, process in processes.items()}
    finally:
        for process in processes.values():
            process.terminate()
            process.communicate()
    assert [process.returncode for process in processes.values()] == [0, 0, 0], output
    return traces


def test_run_over_syftbox_connects_to_the_local_api(tiny: Tiny, tmp_path: Path, local_api: int) -> None:
    emails = (DO1, DO2, DS)
    with SyftBoxNetwork(tmp_path / "machines", emails, settings=faithful_settings(tmp_path)) as network:
        for email in emails:
            config = json.loads(network[email].config_path.read_text())
            config["client_url"] = f"http://127.0.0.1:{local_api}"
            network[email].config_path.write_text(json.dumps(config))
        environments = {email: network[email].environment for email in emails}
        traces = _train(tiny, environments, tmp_path)
    for email, trace in traces.items():
        # On a small disk, no client of the emulator runs, so its API is not asked.
        assert addresses_in(trace) <= {("127.0.0.1", local_api)}, email
        assert ports_in(trace) == [], email


def test_run_over_drive_connects_to_the_service_only(tiny: Tiny, tmp_path: Path) -> None:
    emails = (DO1, DO2, DS)
    with Emulator(users=list(emails), seed=1) as emulator:
        environments = {}
        for email in emails:
            token = tmp_path / f"{email}.json"
            emulator.write_token(email, token)
            environments[email] = {
                "SYFTBOX_EMAIL": email,
                "SYFT_FLWR_TRANSPORT": "p2p",
                "SYFT_FLWR_GDRIVE_API": emulator.url,
                "GDRIVE_TOKEN_PATH": str(token),
            }
        port = int(emulator.url.rpartition(":")[2])
        traces = _train(tiny, environments, tmp_path)
    for email, trace in traces.items():
        assert addresses_in(trace) == {("127.0.0.1", port)}, email
        assert ports_in(trace) == [], email


def test_recorder_sees_connections_and_ports(tmp_path: Path) -> None:
    program = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname()).close()\n"
        "    print(server.getsockname()[1])\n"
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'', ('::1', 9))\n"
    )
    trace = tmp_path / "trace"
    command = traced([sys.executable, "-W", "ignore", "-c", program], trace)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert addresses_in(trace) >= {("127.0.0.1", int(done.stdout)), ("::1", 9)}
    assert len(ports_in(trace)) == 2
