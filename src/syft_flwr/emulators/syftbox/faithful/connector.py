"""The connection of a running client to the server, which is made again after each break (``events.go``)."""

from collections.abc import Callable

from syft_flwr.emulators.syftbox.faithful.frames import Frame
from syft_flwr.emulators.syftbox.faithful.lives import Life, LifeEndedError, ServerDownError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.syft_server import SyftServer
from syft_flwr.emulators.syftbox.faithful.uplink import Uplink
from syft_flwr.emulators.syftbox.faithful.websocket import Websocket


class Connector:
    """Keeps one client connected.

    Args:
        life: the life of the client.
        to_client: gives the client a frame that it received.
    """

    def __init__(
        self,
        email: str,
        life: Life,
        machinery: Machinery,
        *,
        server: SyftServer,
        uplink: Uplink,
        to_client: Callable[[Frame], None],
    ) -> None:
        self._email = email
        self._life = life
        self._machinery = machinery
        self._server = server
        self._uplink = uplink
        self._to_client = to_client
        self._socket: Websocket | None = None
        #: The number of connections that were made.
        self.count = 0

    @property
    def is_connected(self) -> bool:
        return self._socket is not None and not self._socket.life.ended

    def connect(self) -> None:
        """Make a connection.

        Raises:
            ServerDownError: the server does not run, or the client is offline.
            LifeEndedError: the client was stopped.
        """
        socket = Websocket(
            self._email,
            self._machinery,
            uplink=self._uplink,
            to_server=self._server.receive,
            to_client=self._to_client,
        )
        # A stop ends the life under this lock, and closes the connection after that.
        with self._machinery.waits.changed:
            self._life.check()
            self._server.connect(socket)
            self._socket = socket
            self.count += 1
            socket.open()

    def stay_connected(self) -> None:
        """Connect again after each break, until the client ends."""
        waits, attempt = self._machinery.waits, 0
        try:
            while True:
                waits.until(self._life, ready=lambda: not self.is_connected)
                waits.pause(self._machinery.durations.reconnect(attempt), self._life)
                try:
                    self.connect()
                    attempt = 0
                except ServerDownError:
                    attempt += 1
        except LifeEndedError:
            return

    def push(self, frame: Frame) -> None:
        """Queue a frame.

        Raises:
            LifeEndedError: there is no connection.
            QueueFullError: all places of the queue are taken.
        """
        if self._socket is None or not self._machinery.link.is_online(self._email):
            raise ServerDownError
        self._socket.push(frame)

    def cut(self) -> None:
        """Break the connection. The frames in its queues are gone."""
        if self._socket:
            self._socket.close()

    def close(self) -> None:
        """Break the connection, and wait until nothing of it is at work."""
        if self._socket:
            self._socket.close()
            self._socket.join()

    def is_idle(self) -> bool:
        return self._socket is None or self._socket.is_idle()
