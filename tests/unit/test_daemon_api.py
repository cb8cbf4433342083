"""The local API of a SyftBox client: only loopback, bounded in time and size, and any failure gives no result."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running_daemon import TOKEN, RunningDaemon

from syft_flwr.transport._syftbox import daemon_api
from syft_flwr.transport._syftbox.daemon_api import DaemonApi, Result

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def api_of(address: Any, token: Any = TOKEN) -> DaemonApi | None:
    return DaemonApi.of({"client_url": address, "client_token": token})


@contextmanager
def service(*pieces: bytes, stay: bool = False) -> Iterator[DaemonApi]:
    """Run a service that sends these bytes to its only caller; with ``stay``, it leaves the connection open."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    return
            if stay:
                over.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    api = api_of(f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert api
    try:
        yield api
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    "address",
    [None, 7, "", "http://", "https://localhost:1", "http://192.0.2.1:7938", "http://0.0.0.0:7938", "http://example.org",
     "http://localhost.example.org", "http://user@localhost", "http://localhost/x", "ftp://localhost", "http://[::1"],
)  # fmt: skip
def test_only_loopback_addresses_are_called(address: object) -> None:
    assert api_of(address) is None


@pytest.mark.parametrize("token", [None, 7, "", "a b", "a\r\nX: y", "ä", "x" * 2_000])
def test_unusable_token_is_not_sent(token: object) -> None:
    api = api_of("http://localhost:7938", token)
    assert api
    assert api.token == ""


def test_token_is_not_part_of_the_text() -> None:
    assert TOKEN not in repr(api_of("http://localhost:7938"))


def test_response_is_returned_with_its_status(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path, "me@x.org") as daemon:
        api = DaemonApi(f"http://127.0.0.1:{daemon._server.server_port}", TOKEN)
        daemon.replies["/v1/x"] = {"a": [1]}
        assert api.get("/v1/x") == Result(200, {"a": [1]})
        assert api.get("/v1/y") == Result(404, {"error": "not found"})
        assert DaemonApi(api.address, "").get("/v1/x") == Result(401, {"error": "Unauthorized"})


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with service(OK) as api:
        assert api.get("/") == Result(200, {})


def test_redirect_is_not_followed() -> None:
    with service(b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n") as api:
        assert api.get("/") == Result(302, None)


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"no http\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",),
        (b"HTTP/1.1 " + b"2" * 100_000 + b"\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", b" " * 3_000_000),
    ],
)
def test_broken_response_is_no_result(pieces: tuple[bytes, ...]) -> None:
    with service(*pieces) as api:
        assert api.get("/") is None


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b"[" * 100_000, b"1" * 5_000])
def test_content_that_is_not_json_is_none(body: bytes) -> None:
    with service(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body) as api:
        assert api.get("/") == Result(200, None)


def test_silent_service_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_api, "_TIMEOUT", 0.05)
    with service(OK[:20], stay=True) as api:
        assert api.get("/") is None


def test_absent_service_is_no_result() -> None:
    # A bound socket without `listen` refuses connections, and no other program can take its port.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert DaemonApi(f"http://127.0.0.1:{bound.getsockname()[1]}", TOKEN).get("/") is None
