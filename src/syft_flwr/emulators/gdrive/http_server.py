"""The HTTP server: a thread for each connection."""

import socket
import struct
import threading
from socketserver import TCPServer
from typing import Any

from syft_flwr.emulators.gdrive.connection import Connection
from syft_flwr.emulators.gdrive.faults import Fault
from syft_flwr.emulators.gdrive.latency import Gate, Latency
from syft_flwr.emulators.gdrive.service import Service

_PATIENCE = 5.0
# How long closing takes to be noticed.
_POLL = 0.02


class EmulatorServer(TCPServer):
    """A thread for each connection. Closing it ends the connections and waits for their threads.

    Attributes:
        latency: may be set at any time.
        latencies: those of users that have one of their own.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, service: Service, gate: Gate, seed: int) -> None:
        self.service = service
        self.gate = gate
        self.seed = seed
        self.latency = Latency.NONE
        self.latencies: dict[str, Latency] = {}
        self.barriers: dict[Fault, threading.Barrier] = {}
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._to_reset: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Connection)
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(_POLL,), name="gdrive emulator", daemon=True
        )

    def start(self) -> None:
        self._accepting.start()

    def close(self) -> None:
        self.gate.shut()
        if self._accepting.is_alive():
            self.shutdown()
            self._accepting.join()
        self.server_close()
        with self._lock:
            barriers, connections = list(self.barriers.values()), dict(self._open)
        for barrier in barriers:
            barrier.abort()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in connections.values():
            thread.join(_PATIENCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="gdrive emulator connection", daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            # The client is gone, or the server is closed.
            pass
        finally:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
            is_reset = request in self._to_reset
            self._to_reset.discard(request)
        if is_reset:
            # Closed without lingering and without a word, a connection is reset.
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def latency_of(self, email: str) -> Latency:
        return self.latencies.get(email, self.latency)

    def reset_when_closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._to_reset.add(connection)

    def barrier(self, fault: Fault) -> threading.Barrier:
        with self._lock:
            return self.barriers.setdefault(fault, threading.Barrier(fault.parameters["parties"]))
