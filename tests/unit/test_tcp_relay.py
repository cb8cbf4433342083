"""The relay of the tests passes bytes on, counts them, and ends its connections."""

import socket
import threading
from collections.abc import Iterator

import pytest
from tcp_relay import TcpRelay
from waiting import PATIENCE, eventually


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Return the port of a server that sends back the bytes of a connection after their end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(_read_all(connection))


def _read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def _connect(relay: TcpRelay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE)


@pytest.mark.parametrize(("rate", "put_delay"), [(0.0, 0.0), (1e7, 0.0), (0.0, 0.01)])
def test_relay_passes_bytes_both_ways_and_counts(echo_port: int, rate: float, put_delay: float) -> None:
    sent = b"PUT " + bytes(range(256)) * 4_000
    with TcpRelay(echo_port, rate=rate, put_delay=put_delay) as relay, _connect(relay) as connection:
        writer = threading.Thread(target=_send_all, args=(connection, sent))
        writer.start()
        returned = _read_all(connection)
        writer.join(PATIENCE)
        assert returned == sent
        assert relay.passed == relay.returned == len(sent)


def _send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def test_cut_ends_open_connections_only(echo_port: int) -> None:
    with TcpRelay(echo_port) as relay:
        with _connect(relay) as first:
            first.sendall(b"lost")
            eventually(lambda: relay.passed, "the bytes of the first connection")
            relay.cut()
            assert _end_of(first) == b""
        with _connect(relay) as second:
            _send_all(second, b"kept")
            assert second.recv(100) == b"kept"


def _end_of(connection: socket.socket) -> bytes:
    """Return the next bytes, none after an end or a reset of the connection."""
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def test_unreachable_target_ends_the_connection(echo_port: int) -> None:
    with TcpRelay(echo_port) as relay:
        # Port 1 has no server on any machine that runs tests.
        relay.target = 1
        with _connect(relay) as connection:
            assert _end_of(connection) == b""
