"""The HTTP server of the emulator, with one thread for each connection."""

import socket
import threading
from functools import partial
from socketserver import TCPServer
from typing import Any

from syft_flwr.emulators.gdrive.connection import Connection, resets_when_closed
from syft_flwr.emulators.gdrive.latency import Gate
from syft_flwr.emulators.gdrive.service import Service

_PATIENCE = 5.0
# Seconds between two checks whether the server is closed.
_POLL = 0.02


class EmulatorServer(TCPServer):
    """Serves each connection in its own thread. :meth:`close` ends all connections and waits for their threads."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, service: Service, gate: Gate) -> None:
        self._gate = gate
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", port), partial(Connection, service=service, gate=gate))
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(_POLL,), name="gdrive emulator", daemon=True
        )

    def start(self) -> None:
        self._accepting.start()

    def close(self) -> None:
        self._gate.shut()
        if self._accepting.is_alive():
            self.shutdown()
            self._accepting.join()
        self.server_close()
        with self._lock:
            connections = dict(self._open)
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
            # The client has closed the connection, or the server is closed.
            pass
        finally:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        if resets_when_closed(request):
            # The base class would shut the connection down first, and the client would see an orderly end.
            self.close_request(request)
        else:
            super().shutdown_request(request)
