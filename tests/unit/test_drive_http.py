"""Connections of the Drive client: allowed addresses, proxies, response bodies, the pool and TLS."""

import contextlib
import io
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, IncompleteRead
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from drivekit.accounts import ANN, Person
from httplib2 import Response
from waiting import PATIENCE, eventually

from syft_flwr.clock import SystemClock
from syft_flwr.config import load_settings
from syft_flwr.emulators.gdrive import Emulator
from syft_flwr.errors import ConfigError, TransportError, UnavailableError
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api import http as client_http
from syft_flwr.transport._gdrive.api.channel import HttpPool
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.http import Http, LoopbackHttp, Slice, is_google, receiving, rewrite

API = "http://127.0.0.1:8080"


class Kept:
    """A receiver that records the status and the content of a response."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, str, int | None]] = []
        self.data = b""

    def begin(self, status: int, content_range: str, length: int | None) -> None:
        self.begun.append((status, content_range, length))

    def write(self, block: bytes) -> None:
        self.data += block


def _request(connection: socket.socket) -> bytes:
    """Return a request with its body, or its part before the end of the connection.

    A connection that is closed before its body is read can be reset before the client has sent all of it.
    """
    request = b""
    while part := connection.recv(1 << 16):
        request += part
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if end and len(body) >= (int(length[1]) if length else 0):
            break
    return request


@contextmanager
def server(answer: bytes, *, times: int = 1) -> Iterator[tuple[str, list[bytes]]]:
    """Answer each connection with these bytes and close it; yield the address and the received heads."""
    listener = socket.create_server(("127.0.0.1", 0))
    heads: list[bytes] = []

    def serve() -> None:
        for _ in range(times):
            connection, _ = listener.accept()
            with connection:
                heads.append(_request(connection))
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
    finally:
        thread.join(5)
        listener.close()


@contextmanager
def connections(api: str) -> Iterator[LoopbackHttp]:
    http = LoopbackHttp(api)
    try:
        yield http
    finally:
        http.close()


def ask(answer: bytes, receiver: Kept | None) -> tuple[Response, bytes]:
    """Send one request to a server that answers with these bytes; return the response and its content."""
    with server(answer) as (api, _), connections(api) as http, receiving(receiver):
        return http.request(api)


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:1",
        "http://10.0.0.1:1",
        "http://example.org",
        "http://localhost.example.org",
        "ftp://localhost",
        "http://user:word@127.0.0.1:1",
        "http://127.0.0.1:1/path",
        "http://127.0.0.1:1?q=1",
        "http://",
        "127.0.0.1:1",
        "http://[::2]:1",
        "http://127.0.0.1:99999",
        "http://169.254.169.254",
        "http://0.0.0.0:1",
    ],
)
def test_api_address_must_be_local(address: str) -> None:
    with pytest.raises(ConfigError, match="not an address of this machine") as error:
        LoopbackHttp(address)
    assert "word" not in str(error.value)
    with pytest.raises(ConfigError, match="SYFT_FLWR_GDRIVE_API"):
        load_settings(environ={"SYFT_FLWR_GDRIVE_API": address})


@pytest.mark.parametrize("address", [API, f"{API}/", "http://127.8.9.1:80", "http://localhost:1", "http://[::1]:5"])
def test_every_local_api_address_is_accepted(address: str) -> None:
    assert load_settings(environ={"SYFT_FLWR_GDRIVE_API": address}).gdrive_api == address.rstrip("/")


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        (
            "https://www.googleapis.com/drive/v3/files/x?fields=id&alt=json",
            f"{API}/drive/v3/files/x?fields=id&alt=json",
        ),
        ("https://www.googleapis.com/upload/drive/v3/files?upload_id=1", f"{API}/upload/drive/v3/files?upload_id=1"),
        ("https://www.googleapis.com/batch/drive/v3", f"{API}/batch/drive/v3"),
        ("https://oauth2.googleapis.com/token", f"{API}/token"),
        (f"{API}/upload?id=1", f"{API}/upload?id=1"),
    ],
)
def test_google_addresses_go_to_the_emulator(uri: str, target: str) -> None:
    assert rewrite(uri, API) == target


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.org/",
        "https://googleapis.com.evil.org/",
        "http://www.googleapis.com/",
        f"{API}1/x",
        "http://127.0.0.1/",
        "https://evilgoogleapis.com/",
        "https://www.googleapis.com:444/",
        "https://www.googleapis.com@evil.org/",
        "https://evil.org\\@www.googleapis.com/",
        "https://evil.org\n.googleapis.com/",
        "https://evil.org:80@www.googleapis.com/",
        "https://www.googleapis.com/upload\r\nHost: evil.org",
    ],
)
def test_other_addresses_are_refused(uri: str) -> None:
    assert not is_google(uri)
    with pytest.raises(ConfigError, match="the emulator does not serve requests to"):
        rewrite(uri, API)


def test_upload_to_foreign_host_gets_no_token(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    ann.folder()
    monkeypatch.setattr("syft_flwr.emulators.gdrive.uploads._ORIGIN", "https://evil.org")
    with pytest.raises(TransportError, match="not Google's") as error:
        ann.put(bytes(6 << 20))
    assert "upload_id" not in str(error.value)


def test_emulator_requests_bypass_the_proxy(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    drive = ann.open()
    assert drive.me() == ANN
    drive.close()


def test_google_requests_use_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"HTTP/1.1 403 Forbidden\r\n\r\n") as (proxy, heads):
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(OSError, match="403"):
            Http().request("https://www.googleapis.com/drive/v3/about")
    assert heads[0].startswith(b"CONNECT www.googleapis.com:443 ")


def test_too_large_response_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "MAX_ANSWER", 1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"
    with (
        server(head + bytes(1001)) as (api, _),
        connections(api) as http,
        pytest.raises(HTTPException, match="too large"),
    ):
        http.request(api)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("length", [b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\na\r\n"])
def test_truncated_response_is_an_error(streamed: bool, length: bytes) -> None:
    kept = Kept()
    with pytest.raises(IncompleteRead):
        ask(b"HTTP/1.1 200 OK\r\n" + length + b"12345", kept if streamed else None)
    assert kept.data == (b"12345" if streamed else b"")


@pytest.mark.parametrize(
    "length",
    [
        b"Content-Length: 5\r\n\r\n12345",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
        b"Connection: close\r\n\r\n12345",
    ],
)
def test_body_of_every_encoding_is_streamed(length: bytes) -> None:
    kept = Kept()
    with (
        server(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\n" + length) as (api, heads),
        connections(api) as http,
        receiving(kept),
    ):
        _, content = http.request(api)
    assert (kept.data, content) == (b"12345", b"")
    assert kept.begun[0][:2] == (206, "bytes 0-4/9")
    assert b"accept-encoding: identity" in heads[0]


def test_compressed_response_is_refused() -> None:
    kept = Kept()
    with (
        server(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx") as (api, _),
        connections(api) as http,
        receiving(kept),
        pytest.raises(HTTPException),
    ):
        http.request(api)
    assert kept.data == b""


def test_error_page_is_not_taken_as_content() -> None:
    kept = Kept()
    answer, content = ask(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", kept)
    assert (answer.status, content, kept.data, kept.begun) == (404, b"nope", b"", [])


def test_status_308_is_not_a_redirect() -> None:
    answer = b"HTTP/1.1 308 Resume Incomplete\r\nLocation: http://127.0.0.1:1/\r\nRange: bytes=0-9\r\nContent-Length: 0\r\n\r\n"
    with server(answer) as (api, _), connections(api) as http:
        found, _ = http.request(api, "PUT", b"", {})
    assert (found.status, found["range"]) == (308, "bytes=0-9")


def test_streamed_body_is_not_resent() -> None:
    body = Slice(io.BytesIO(b"body"), 0, 4)
    with server(b"", times=2) as (api, heads), connections(api) as http, pytest.raises(OSError):  # noqa: PT011
        http.request(api, "PUT", body, {})
    # The client opened a second connection, but sent no body over it.
    assert len(heads) == 2
    assert b"body" not in heads[1]


def test_slice_is_read_in_blocks_from_its_start() -> None:
    data = bytes(range(256)) * 4096
    part = Slice(io.BytesIO(data), 100, 600_000)
    assert len(part) == 600_000
    for _ in range(2):
        blocks = list(part)
        assert b"".join(blocks) == data[100:600_100]
        assert max(map(len, blocks)) <= 256 << 10


# The pool


def test_idle_connection_is_reused_by_one_caller() -> None:
    made: list[Http] = []
    pool = HttpPool(lambda: made.append(Http()) or made[-1], FakeClock(), 16)
    with pool.borrow() as first, pool.borrow() as second:
        assert first is not second
    with pool.borrow() as third:
        assert third in made
    assert len(made) == 2
    pool.close()


def test_failed_connection_is_not_reused() -> None:
    made: list[Http] = []
    pool = HttpPool(lambda: made.append(Http()) or made[-1], FakeClock(), 16)
    with pytest.raises(OSError, match="broken"), pool.borrow():
        raise OSError("broken")
    with pool.borrow() as http:
        assert http is made[1]
    pool.close()


def test_long_idle_connection_is_not_reused() -> None:
    clock = FakeClock()
    made: list[Http] = []
    pool = HttpPool(lambda: made.append(Http()) or made[-1], clock, 16)
    with pool.borrow():
        pass
    clock.advance(119)
    with pool.borrow() as http:
        assert http is made[0]
    clock.advance(121)
    with pool.borrow() as http:
        assert http is made[1]
    pool.close()


def test_closed_pool_refuses_to_lend() -> None:
    pool = HttpPool(Http, FakeClock(), 16)
    pool.close()
    with pytest.raises(TransportError, match="was closed"), pool.borrow():
        pass


def test_waiting_call_fails_when_the_pool_is_closed() -> None:
    pool = HttpPool(Http, FakeClock(), 2)
    with pool.borrow(), pool.borrow(), ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(lambda: pool.borrow().__enter__())
        eventually(lambda: pool._changed._waiters, "a call that waits")
        pool.close()
        with pytest.raises(TransportError, match="was closed"):
            waiting.result(PATIENCE)


@pytest.mark.parametrize("is_long", [False, True])
def test_call_waits_for_a_connection_until_its_limit(is_long: bool) -> None:
    clock = FakeClock()
    pool = HttpPool(Http, clock, 2)
    with pool.borrow(), pool.borrow(), ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(lambda: pool.borrow(is_long=is_long, latest=60.0).__enter__())
        eventually(lambda: clock._waiting, "a call that waits")
        clock.advance(59)
        eventually(lambda: clock._waiting, "a call that still waits")
        assert not waiting.done()
        clock.advance(1)
        with pytest.raises(UnavailableError, match="all 2 connections of this program stay busy"):
            waiting.result(PATIENCE)
    with pool.borrow(is_long=is_long, latest=0.0):
        """A free connection is lent also after the limit: the call decides itself."""
    pool.close()


def test_stalled_calls_end_the_wait_of_others_at_their_limit(emulator: Emulator, ann: Person) -> None:
    drive = DriveClient(ann.account(), clock=ann.clock, concurrency=2)
    ann.fault("stall", "about.get", times=None)
    with closing(drive), ThreadPoolExecutor(2) as executor:
        stalled = [executor.submit(drive.free_space) for _ in range(2)]
        assert emulator.wait_until_stalled(2)
        with pytest.raises(UnavailableError, match="stay busy"):
            drive._channel.renew("stale", latest=ann.clock.monotonic())
        emulator.heal()
        assert [call.result(PATIENCE) for call in stalled]


def test_most_calls_run_and_one_is_never_long() -> None:
    pool = HttpPool(Http, FakeClock(), 3)
    with ExitStack() as held, ThreadPoolExecutor(2) as executor:
        for _ in range(2):
            held.enter_context(pool.borrow(is_long=True))
        long_one = executor.submit(lambda: pool.borrow(is_long=True).__enter__())
        # A short call passes the long one that waits.
        with pool.borrow():
            short_one = executor.submit(lambda: pool.borrow().__enter__())
            eventually(lambda: len(pool._changed._waiters) == 2, "two calls that wait")
        assert short_one.result(PATIENCE)
        assert not long_one.done()
        held.close()
        assert long_one.result(PATIENCE)
    pool.close()


def test_running_calls_never_pass_the_concurrency(emulator: Emulator, ann: Person) -> None:
    # The clock of this account jumps to the end of each wait.
    drive = DriveClient(ann.account(), clock=SystemClock(), concurrency=3)
    ann.fault("stall", "about.get", times=None)
    with closing(drive), ThreadPoolExecutor(6) as executor:
        calls = [executor.submit(drive.free_space) for _ in range(6)]
        assert emulator.wait_until_stalled(3)
        eventually(lambda: len(drive._channel._pool._changed._waiters) == 3, "three calls that wait")
        assert emulator._gate.stalled == 3
        emulator.heal()
        assert [call.result(PATIENCE) for call in calls]


def test_timeout_is_that_of_every_connection(ann: Person) -> None:
    with closing(DriveClient(ann.account(), clock=ann.clock, timeout=7.0)) as drive:
        drive.free_space()
        ((http, _),) = drive._channel._pool._idle
        assert {connection.timeout for connection in http.connections.values()} == {7.0}


def test_sequential_calls_use_one_connection(emulator: Emulator, ann: Person) -> None:
    for _ in range(5):
        ann.drive.free_space()
    assert len(ann.drive._channel._pool._idle) == 1


# TLS


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Answer one request over TLS as localhost; yield the address and the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, private)
    listener = socket.create_server(("127.0.0.1", 0))
    body = b"b" * 300_000

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as stream:
            received = b""
            while not received.endswith(b"end"):
                received += stream.recv(1 << 16)
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://localhost:{listener.getsockname()[1]}", path
    thread.join(5)
    listener.close()


def test_tls_request_sends_and_streams_bodies(tls: tuple[str, Path]) -> None:
    address, certificate = tls
    http, kept = Http(ca_certs=str(certificate)), Kept()
    with receiving(kept):
        answer, _ = http.request(address, "POST", bytes(700_000) + b"end", {})
    assert (answer.status, kept.data) == (200, b"b" * 300_000)
    http.close()


def test_untrusted_certificate_is_refused(tls: tuple[str, Path]) -> None:
    http = Http()
    with pytest.raises(ssl.SSLCertVerificationError):
        http.request(tls[0], "POST", b"end", {})
    http.close()
