"""A small program in the place of a SyftBox client: its lock, its config file, and its local API on loopback."""

import fcntl
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

TOKEN = "a-secret-token"


class RunningDaemon:
    """The client of one participant, which runs inside a ``with`` block. It synchronises nothing.

    Args:
        home: the folder for its config file and its data folder.
        email: the participant.
        subscriptions: the reply to ``/v1/subscriptions/``; None for a release without subscriptions.
    """

    def __init__(self, home: Path, email: str, subscriptions: Any = None) -> None:
        self.email = email
        self.data_dir = home / "SyftBox"
        self.config_path = home / "config.json"
        self.datasite = self.data_dir / "datasites" / email
        self.subscriptions = subscriptions
        #: The replies by path. A test can change them.
        self.replies: dict[str, Any] = {}
        #: The paths of all calls with the right token.
        self.calls: list[str] = []
        #: Called before each reply.
        self.before_reply = lambda: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SYFTBOX_CLIENT_CONFIG_PATH": str(self.config_path),
            "SYFT_FLWR_HOME": str(self.config_path.parent / "homes"),
        }

    @property
    def subscription_file(self) -> Path:
        return self.data_dir / ".data" / "syft.sub.yaml"

    def __enter__(self) -> Self:
        self.write_config()
        (self.data_dir / ".data").mkdir(parents=True, exist_ok=True)
        self.datasite.mkdir(parents=True, exist_ok=True)
        (self.datasite / "syft.pub.yaml").write_text("rules: []\n")
        self._lock = os.open(self.data_dir / ".data" / "syftbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        config = {"data_dir": str(self.data_dir), "email": self.email}
        self.replies["/v1/status"] = {"status": "ok", "datasite": {"status": "PROVISIONED", "config": config}}
        if self.subscriptions is not None:
            self.replies["/v1/subscriptions/"] = {"path": "", "config": self.subscriptions}
        self._thread.start()
        return self

    def write_config(self, **changes: Any) -> None:
        """Write the config file as the client does; None removes a key."""
        self.config_path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "data_dir": str(self.data_dir),
            "email": self.email,
            "server_url": "https://syftbox.example.org",
            "client_url": f"http://127.0.0.1:{self._server.server_port}",
            "client_token": TOKEN,
        }
        kept = {key: value for key, value in {**content, **changes}.items() if value is not None}
        self.config_path.write_text(json.dumps(kept))

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        os.close(self._lock)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                daemon.before_reply()
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    self._reply(401, {"error": "Unauthorized"})
                    return
                daemon.calls.append(self.path)
                if self.path in daemon.replies:
                    self._reply(200, daemon.replies[self.path])
                else:
                    self._reply(404, {"error": "not found"})

            def _reply(self, status: int, content: Any) -> None:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
