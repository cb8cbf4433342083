"""The real SyftBox on this machine: its store, its server, and one client for each participant, on loopback only.

The programs ``server`` and ``syftbox`` are not part of this project. ``SYFT_FLWR_TEST_SYFTBOX`` names their folder.
The store is ``moto``, an S3 server in memory: after a pause it still has its files, after its end it has none.
"""

import json
import os
import random
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from child_program import ChildProgram
from tcp_relay import TcpRelay
from waiting import eventually

VARIABLE = "SYFT_FLWR_TEST_SYFTBOX"
#: Below the ports that the kernel gives to outgoing connections, so that no connection takes one in between.
_PORTS = range(12_000, 32_000)
_PATIENCE = 60.0
_BUCKET = "syftbox-local"
#: The server does not start with a certificate of its own for S3, and a proxy would take the loopback addresses.
_DROPPED = ("AWS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_SERVER_SETTINGS = """\
http:
  addr: 127.0.0.1:{port}
blob:
  bucket_name: {bucket}
  region: us-east-1
  endpoint: http://127.0.0.1:{store}
  access_key: key
  secret_key: secret
auth:
  enabled: false
email:
  enabled: false
data_dir: {folder}/data
log_dir: {folder}/logs
"""

#: Newer clients block every other participant by default. Older clients ignore this file.
_SUBSCRIPTIONS = """\
version: 1
defaults:
  action: allow
"""


def programs() -> Path | None:
    """Return the folder of the real programs, or None if the environment names none."""
    named = os.environ.get(VARIABLE, "").strip()
    return Path(named).resolve() if named else None


def know_subscriptions(folder: Path) -> bool:
    """Return whether the client program knows the file with subscriptions. That of SyftBox's main branch does not."""
    return b"syft.sub.yaml" in (folder / "syftbox").read_bytes()


class RealSyftBox:
    """A network of real SyftBox programs. It starts on entry, and on exit all its processes end.

    Attributes:
        store: the S3 server.
        server: the SyftBox server.
        clients: the SyftBox client of each participant, by email.
        store_link: the relay between server and store.
        links: the relay between each client and the server, by email: its rate is the participant's uplink.

    Args:
        folder: the folder of the programs.
        root: folder for the files of all programs; made if missing.
        emails: the participants.
        store_delay: seconds that each ``PUT`` to the store takes longer.
        uplink: bytes per second from each client to the server; 0 for no limit.
        subscribed: whether the clients sync the files of the other participants. False leaves their default subscriptions,
            which block these files. Programs of SyftBox's main branch always sync them.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        emails: Iterable[str],
        *,
        store_delay: float = 0.0,
        uplink: float = 0.0,
        subscribed: bool = True,
    ) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._subscribed = subscribed
        self._ports = filter(_is_free, random.sample(_PORTS, len(_PORTS)))
        self._store_port, self._server_port = next(self._ports), next(self._ports)
        self.store_link = TcpRelay(self._store_port, put_delay=store_delay)
        self.links = {email: TcpRelay(self._server_port, rate=uplink) for email in emails}
        self.store = self._program("store", [f"{Path(sys.executable).parent}/moto_server", *self._store_arguments()])
        self.server = self._program("server", [f"{folder}/server", "-f", "server.yaml"])
        self.clients = {email: self._client(email) for email in self.links}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._end)
            for relay in (self.store_link, *self.links.values()):
                stack.enter_context(relay)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def config_path(self, email: str) -> Path:
        return self.root / email / "config.json"

    def datasites(self, email: str) -> Path:
        """Return the folder with a participant's copies of all datasites."""
        return self.root / email / "SyftBox" / "datasites"

    def environment(self, email: str) -> dict[str, str]:
        """Return the environment variables that let a process find this participant's SyftBox and its home."""
        return {
            "SYFTBOX_CLIENT_CONFIG_PATH": str(self.config_path(email)),
            "SYFT_FLWR_HOME": str(self.root / email / "state"),
        }

    def start_server(self) -> None:
        """Start the server, and wait until it serves."""
        self.server.start()
        _await(self.server, lambda: _responds(f"http://127.0.0.1:{self._server_port}/healthz"))

    def _start(self) -> None:
        self.store.start()
        _await(self.store, lambda: _responds(f"http://127.0.0.1:{self._store_port}/moto-api/"))
        bucket = urllib.request.Request(f"http://127.0.0.1:{self._store_port}/{_BUCKET}", method="PUT")
        urllib.request.urlopen(bucket, timeout=_PATIENCE).close()
        text = _SERVER_SETTINGS.format(
            port=self._server_port, store=self.store_link.port, bucket=_BUCKET, folder=self.server.folder
        )
        (self.server.folder / "server.yaml").write_text(text)
        self.start_server()
        for client in self.clients.values():
            client.start()
        for email, client in self.clients.items():
            _await(client, (self.datasites(email) / email / "public").is_dir)

    def _end(self) -> None:
        for program in (*self.clients.values(), self.server, self.store):
            program.stop()

    def _store_arguments(self) -> list[str]:
        return ["-H", "127.0.0.1", "-p", str(self._store_port)]

    def _client(self, email: str) -> ChildProgram:
        config = self.config_path(email)
        # The client writes its logs to its home.
        (config.parent / "home").mkdir(parents=True, exist_ok=True)
        settings = {
            "data_dir": str(config.parent / "SyftBox"),
            "email": email,
            "server_url": f"http://127.0.0.1:{self.links[email].port}",
            # Newer clients open a local API there.
            "client_url": f"http://127.0.0.1:{next(self._ports)}",
        }
        config.write_text(json.dumps(settings))
        if self._subscribed:
            subscriptions = config.parent / "SyftBox" / ".data" / "syft.sub.yaml"
            subscriptions.parent.mkdir(parents=True, exist_ok=True)
            subscriptions.write_text(_SUBSCRIPTIONS)
        more = {"HOME": str(config.parent / "home"), "SYFTBOX_AUTH_ENABLED": "0"}
        return self._program(email, [f"{self._folder}/syftbox", "-c", str(config)], more)

    def _program(self, name: str, command: list[str], more: Mapping[str, str] | None = None) -> ChildProgram:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if key not in _DROPPED}
        return ChildProgram(command, folder, self.root / f"{name}.log", {**environment, **(more or {})})


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _await(program: ChildProgram, ready: Callable[[], bool]) -> None:
    eventually(lambda: not program.is_running or ready(), f"the start of {program.log.stem}", _PATIENCE)
    assert program.is_running, f"{program.log.stem} ended with {program.exit_code}\n{program.tail()}"


def _responds(url: str) -> bool:
    """Return whether a server sends any reply, an error included."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
