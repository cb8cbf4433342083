"""One client connection: read each request, apply the faults, and send the response."""

import json
import socket
import struct
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any
from urllib.parse import unquote, urlsplit

from syft_flwr.emulators.gdrive.drive_errors import no_such_page
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest, Reply, parse_query
from syft_flwr.emulators.gdrive.faults import Call
from syft_flwr.emulators.gdrive.latency import Gate
from syft_flwr.emulators.gdrive.meters import RequestRecord
from syft_flwr.emulators.gdrive.routes import Route, route
from syft_flwr.emulators.gdrive.service import Answered, Service

_MAX_BODY = 1 << 31
# Limits for discarding an unread request: bytes in all, bytes of one read, and seconds for one read.
_DISCARD_BYTES = 64 << 20
_DISCARD_PIECE = 1 << 16
_DISCARD_SECONDS = 5.0
# SO_LINGER with a timeout of 0: close() drops unsent data and resets the connection.
_RESET = struct.pack("ii", 1, 0)


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ESF"
    sys_version = ""
    disable_nagle_algorithm = True

    def __init__(self, request: Any, client_address: Any, server: BaseServer, *, service: Service, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        # The constructor of the base class handles all requests of the connection.
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        self._respond()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in the base class
        """Do nothing: :attr:`Emulator.requests` is the log of requests."""

    def _respond(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = ReceivedRequest(self.command, unquote(url.path), parse_query(url.query), headers)
        if request.path.startswith("/emulator/"):
            self._read(request, None)
            reply = self._about_itself(request)
            self._send(reply, reply.body)
            return
        if "transfer-encoding" in headers:
            # Chunked bodies are not supported, and without a length the next request cannot be found.
            self._refuse_unread(Reply(411, headers={"Connection": "close"}))
            return
        found = route(request.http_method, request.path, request.query, headers)
        if found.method == "token":
            self._read(request, None)
        call = self._service.call(request, found)
        self._exchange(request, found, call)

    def _refuse_unread(self, reply: Reply) -> None:
        """Send a response, discard the rest of the request, and end the connection.

        Closing at once would reset the connection while the client writes, and the client would lose the response.
        """
        self.close_connection = True
        self._send(reply, reply.body)
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_DISCARD_SECONDS)
        left = _DISCARD_BYTES
        while left > 0 and (rest := self.connection.recv(min(left, _DISCARD_PIECE))):
            left -= len(rest)

    def _exchange(self, request: ReceivedRequest, found: Route, call: Call) -> None:
        """Handle one request with its faults."""
        service = self._service
        if not self._is_to_be_answered(request, found, call):
            self.close_connection = True
            self._record(request, found, call, Answered(Reply(0)))
            return
        answered = service.answer(request, found, call)
        reply = answered.reply
        is_final = found.method == "upload.chunk" and reply.status in {200, 201}
        if service.take(call, "lose_reply") or (is_final and service.take(call, "lose_final")):
            self.close_connection = True
            self._record(request, found, call, Answered(Reply(0), answered.parts))
            return
        self._gate.delay_transfer(call, len(reply.body))
        sent = reply.body
        if fault := service.take(call, "truncate"):
            keep = fault.parameters["keep"]
            sent = reply.body[: len(reply.body) // 2 if keep is None else keep]
            self.close_connection = True
        # Recorded before sending, so that a client that has the response finds the request in the log.
        self._record(request, found, call, answered, len(sent))
        try:
            self._send(reply, sent)
        except OSError:
            # The client has closed the connection.
            self.close_connection = True

    def _is_to_be_answered(self, request: ReceivedRequest, found: Route, call: Call) -> bool:
        """Read the body and apply the faults before the response; return False if the connection must end."""
        service = self._service
        if service.take(call, "close_before_reading") or not self._arrives(request, found, call):
            return False
        self._gate.pass_through()
        self._gate.delay_answer(call, has_media=found.upload in {"media", "multipart"})
        if service.take(call, "close_after_reading"):
            return False
        if fault := service.take(call, "reset"):
            if fault.parameters["committed"]:
                service.answer(request, found, call)
            self._reset_when_closed()
            return False
        if fault := service.take(call, "barrier"):
            self._gate.meet(fault)
        if fault := service.take(call, "run"):
            fault.parameters["action"](call)
        if fault := service.take(call, "stall"):
            self._gate.stall(fault.parameters["seconds"])
        return True

    def _arrives(self, request: ReceivedRequest, found: Route, call: Call) -> bool:
        """Read the body and return whether it is complete; keep the received part of a broken upload."""
        if found.method == "token":
            return True
        fault = self._service.take(call, "drop_upload") if call.size else None
        if self._read(request, fault.parameters["at"] if fault else None) and not fault:
            return True
        self._service.abandon(request, found)
        if fault and fault.parameters["reset"]:
            self._reset_when_closed()
        return False

    def _read(self, request: ReceivedRequest, at_most: int | None) -> bool:
        """Read the body, but at most ``at_most`` bytes; return whether it is complete."""
        length = request.headers.get("content-length", "0")
        size = int(length) if length.isdecimal() else 0
        wanted = min(size if at_most is None else min(size, at_most), _MAX_BODY)
        request.body = self.rfile.read(wanted)
        return len(request.body) == size

    def _reset_when_closed(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _send(self, reply: Reply, body: bytes) -> None:
        """Send a response with ``body``, which may be shorter than the announced length."""
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if body:
            self.wfile.write(body)

    def _record(self, request: ReceivedRequest, found: Route, call: Call, answered: Answered, sent: int = 0) -> None:
        service, reply = self._service, answered.reply
        with service.lock:
            service.meters.requests.append(
                RequestRecord(
                    call.user,
                    found.method,
                    request.http_method,
                    request.path,
                    reply.status,
                    found.file_id or reply.file_id,
                    len(answered.parts),
                    len(request.body),
                    sent,
                    service.clock.now(),
                    answered.parts,
                )
            )

    def _about_itself(self, request: ReceivedRequest) -> Reply:
        """Return the response to a request for the counters, or to a request to reset them."""
        service = self._service
        with service.lock:
            if (request.http_method, request.path) == ("GET", "/emulator/meters"):
                return Reply(200, json.dumps(service.meters.as_json()).encode(), {"Content-Type": "application/json"})
            if (request.http_method, request.path) == ("POST", "/emulator/reset"):
                service.meters.reset()
                return Reply(204)
        return Reply.refusal(no_such_page(request.path))


def resets_when_closed(connection: socket.socket) -> bool:
    """Return whether a fault requires the connection to end with a reset."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET)) == _RESET
