"""A look at the server of a tracker, and the text of its failure, which shows the reason and no login."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from syft_flwr.tracking.failure_text import masked, shown_address, shown_failure
from syft_flwr.tracking.probe import require_answer
from syft_flwr.tracking.tracker import TrackerError

_LOGIN = {
    "MLFLOW_TRACKING_URI": "https://ann:p%40ss-word@tracker.org/mlflow",
    "MLFLOW_TRACKING_PASSWORD": "other-secret",
    "MLFLOW_TRACKING_TOKEN": "other-secret-token",
}


class Server(ThreadingHTTPServer):
    """Answers with the status that is the first part of the path, and notes the paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404])
def test_server_that_answers_is_there(server: Server, status: int) -> None:
    require_answer(f"{server.uri}/{status}/")
    assert server.asked == [f"/{status}/health"]


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_with_a_fault_is_not_used(server: Server, status: int) -> None:
    with pytest.raises(TrackerError, match=f"HTTP status {status}"):
        require_answer(f"{server.uri}/{status}")


def test_refused_port_is_told_by_the_system() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError) as raised:
            require_answer(f"http://ann:secret@127.0.0.1:{held.getsockname()[1]}")
    assert shown_failure(raised.value) == "Connection refused"


def test_server_without_encryption_behind_https_is_there(server: Server) -> None:
    require_answer(server.uri.replace("http:", "https:"))
    assert server.asked == []


def test_server_behind_a_proxy_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    require_answer(f"{server.uri}/500")
    assert server.asked == []


@pytest.mark.parametrize("place", ["databricks", "file:///data/runs", "sqlite:////data/runs.db", "./mlruns", ""])
def test_place_that_is_no_server_is_not_asked(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_answer(place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://ann:p%40ss-word@tracker.org/mlflow failed", "GET https://***@tracker.org/mlflow failed"),
        ("no user ann with p@ss-word", "no user ann with ***"),
        ("Basic other-secret", "Basic ***"),
        ("Bearer other-secret-token", "Bearer ***"),
        ("https://tracker.org/api?token=abc&run=1 failed", "https://tracker.org/api?*** failed"),
        ("plain", "plain"),
    ],
)
def test_text_of_a_failure_has_no_login(text: str, shown: str) -> None:
    assert masked(text, _LOGIN) == shown
    assert shown_failure(ValueError(text), _LOGIN) == shown


def test_address_is_shown_without_its_login() -> None:
    assert shown_address(_LOGIN["MLFLOW_TRACKING_URI"]) == "https://tracker.org/mlflow"
    assert shown_address("http://127.0.0.1:5000?token=abc") == "http://127.0.0.1:5000"


def test_failure_is_one_short_line() -> None:
    assert shown_failure(ValueError("a\nb\x1b[31m" + "x" * 1_000)).startswith("a b\\x1b[31mxx")
    assert len(shown_failure(ValueError("x" * 1_000))) == 200
    assert shown_failure(ValueError()) == "ValueError"


def test_innermost_error_of_the_system_is_the_reason() -> None:
    error = RuntimeError("a library says much about https://ann:secret@tracker.org")
    error.__cause__ = ValueError(TimeoutError())
    assert shown_failure(error) == "it did not answer in time"
    error.__cause__ = ValueError("wrapped")
    error.__cause__.__context__ = OSError(113, "No route to host")
    assert shown_failure(error) == "No route to host"
    error.__cause__ = error
    assert "secret" not in shown_failure(error)
