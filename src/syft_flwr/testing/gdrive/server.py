"""The HTTP server, and what can happen to its connections."""

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from syft_flwr.testing.gdrive.errors import no_such_page
from syft_flwr.testing.gdrive.exchange import Reply, Request, parse_query
from syft_flwr.testing.gdrive.faults import Call, Fault
from syft_flwr.testing.gdrive.gate import Gate
from syft_flwr.testing.gdrive.latency import Latency
from syft_flwr.testing.gdrive.meters import PartRecord, RequestRecord
from syft_flwr.testing.gdrive.routes import Route, route
from syft_flwr.testing.gdrive.service import Service

_MAX_BODY = 1 << 31
_PATIENCE = 5.0
# How long closing takes to be noticed.
_POLL = 0.02


class Server(TCPServer):
    """A thread for each connection. Closing it ends the connections and waits for their threads.

    Attributes:
        latency: may be set at any time.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, service: Service, gate: Gate, seed: int) -> None:
        self.service = service
        self.gate = gate
        self.seed = seed
        self.latency = Latency.NONE
        self.barriers: dict[Fault, threading.Barrier] = {}
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._to_reset: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
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

    def reset_when_closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._to_reset.add(connection)

    def barrier(self, fault: Fault) -> threading.Barrier:
        with self._lock:
            return self.barriers.setdefault(fault, threading.Barrier(fault.parameters["parties"]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ESF"
    sys_version = ""
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._respond()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in the base class
        """Say nothing; the log of requests is :attr:`Emulator.requests`."""

    def _respond(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(url.path), parse_query(url.query), headers)
        if request.path.startswith("/emulator/"):
            self._read(request, None)
            self._send(self._about_itself(request))
            return
        found = route(request.http_method, request.path, request.query, headers)
        if found.method == "token":
            self._read(request, None)
        call = self.server.service.call(request, found)
        answered = self._exchange(request, found, call)
        status, sent, parts = answered
        self._record(request, found, call, status, sent, parts)

    def _exchange(self, request: Request, found: Route, call: Call) -> tuple[Reply | None, int, tuple[PartRecord, ...]]:
        """Go through a request with what goes wrong on the way; return the reply if it was sent."""
        nothing = (None, 0, ())
        server, service = self.server, self.server.service
        if service.take(call, "close_before_reading"):
            self.close_connection = True
            return nothing
        if not self._arrives(request, found, call):
            return nothing
        server.gate.pass_through()
        server.gate.sleep(server.latency.seconds(call, has_media=bool(found.upload), seed=server.seed))
        if service.take(call, "close_after_reading"):
            self.close_connection = True
            return nothing
        if fault := service.take(call, "reset"):
            if fault.parameters["committed"]:
                service.answer(request, found, call)
            self._reset()
            return nothing
        if fault := service.take(call, "barrier"):
            self._meet(fault)
        if fault := service.take(call, "stall"):
            server.gate.stall(fault.parameters["seconds"])
        answered = service.answer(request, found, call)
        reply = answered.reply
        is_final = found.method == "upload.chunk" and reply.status in {200, 201}
        if service.take(call, "lose_reply") or (is_final and service.take(call, "lose_final")):
            self.close_connection = True
            return None, 0, answered.parts
        server.gate.sleep(server.latency.transfer(len(reply.body)))
        if fault := service.take(call, "truncate"):
            keep = fault.parameters["keep"]
            self._send(reply, keep=len(reply.body) // 2 if keep is None else keep)
            self.close_connection = True
        else:
            self._send(reply)
        return reply, len(reply.body), answered.parts

    def _arrives(self, request: Request, found: Route, call: Call) -> bool:
        """Read the body; of an upload that breaks off, keep what an upload session keeps."""
        if found.method == "token":
            return True
        fault = self.server.service.take(call, "drop_upload") if call.size else None
        if self._read(request, fault.parameters["at"] if fault else None) and not fault:
            return True
        self.server.service.abandon(request, found)
        if fault and fault.parameters["reset"]:
            self._reset()
        self.close_connection = True
        return False

    def _read(self, request: Request, at_most: int | None) -> bool:
        """Read the body, or so many bytes of it; return whether all of it came."""
        length = request.headers.get("content-length", "0")
        size = int(length) if length.isdecimal() else 0
        wanted = min(size if at_most is None else min(size, at_most), _MAX_BODY)
        request.body = self.rfile.read(wanted)
        return len(request.body) == size

    def _meet(self, fault: Fault) -> None:
        try:
            self.server.barrier(fault).wait(fault.parameters["timeout"])
        except threading.BrokenBarrierError:
            # The others did not come; a test sees that from what happens next.
            return

    def _reset(self) -> None:
        self.server.reset_when_closed(self.connection)
        self.close_connection = True

    def _send(self, reply: Reply, *, keep: int | None = None) -> None:
        """Send a reply, or only the first ``keep`` bytes of a body whose length was announced."""
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        body = reply.body if keep is None else reply.body[:keep]
        if body:
            self.wfile.write(body)

    def _record(
        self,
        request: Request,
        found: Route,
        call: Call,
        reply: Reply | None,
        sent: int,
        parts: tuple[PartRecord, ...],
    ) -> None:
        service = self.server.service
        file_id = found.file_id or (reply.file_id if reply else None)
        with service.lock:
            service.meters.requests.append(
                RequestRecord(
                    call.user,
                    found.method,
                    request.http_method,
                    request.path,
                    reply.status if reply else 0,
                    file_id,
                    len(parts),
                    len(request.body),
                    sent,
                    service.clock.now(),
                    parts,
                )
            )

    def _about_itself(self, request: Request) -> Reply:
        """Answer other processes that want to know or reset what was counted."""
        service = self.server.service
        with service.lock:
            if (request.http_method, request.path) == ("GET", "/emulator/meters"):
                return Reply(200, json.dumps(service.meters.as_json()).encode(), {"Content-Type": "application/json"})
            if (request.http_method, request.path) == ("POST", "/emulator/reset"):
                service.meters.reset()
                return Reply(204)
        return Reply.refusal(no_such_page(request.path))
