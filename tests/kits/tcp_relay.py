"""A TCP relay between two ports of this machine, with a limited rate, slow HTTP uploads, and a count of the bytes.

The relay runs in a thread of this process, so a test can change its attributes at any time.
"""

import asyncio
import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

#: Bytes that one step passes on.
_CHUNK = 1 << 16
_SLOW_BUFFER = 1 << 16
_SLOW_SEGMENT = 1_460
_HOST = "127.0.0.1"
_START_TIMEOUT = 10.0
#: Shorter sleeps are less accurate than the pace that they keep.
_LEAST_SLEEP = 0.005


class TcpRelay:
    """Passes the bytes of each connection to ``port`` on to another port, and back.

    Attributes:
        port: the port on which the relay listens.
        target: the port to which it connects.
        rate: bytes per second towards the target, shared by all connections; 0 for no limit. If the relay has a
            limit from the beginning, the sender's kernel takes at most about 1.6 MB in advance.
        put_delay: seconds before each HTTP ``PUT`` is passed on.
        passed: bytes that it passed on towards the target.
        returned: bytes that came back from the target.
    """

    def __init__(self, target: int, *, rate: float = 0.0, put_delay: float = 0.0) -> None:
        self.target = target
        self.rate = rate
        self.put_delay = put_delay
        self.passed = 0
        self.returned = 0
        #: Monotonic time at which the limited link can take the next byte.
        self._free_at = 0.0
        self._listener = socket.socket()
        if rate:
            # As on a real slow link, the kernel of the sender must not take a whole frame at once.
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SLOW_SEGMENT)
        self._listener.bind((_HOST, 0))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay {self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._accepting = asyncio.run_coroutine_threadsafe(self._accept(), self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._accepting.cancel()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_TIMEOUT)
        self._loop.close()
        self._listener.close()

    def cut(self) -> None:
        """Close every open connection. Later connections are accepted."""
        asyncio.run_coroutine_threadsafe(self._close_all(), self._loop).result(_START_TIMEOUT)

    async def _close_all(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            near, _ = await self._loop.sock_accept(self._listener)
            task = self._loop.create_task(self._serve(near))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, near: socket.socket) -> None:
        far = socket.socket()
        far.setblocking(False)
        with near, far, contextlib.suppress(OSError):
            await self._loop.sock_connect(far, (_HOST, self.target))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                # A group, so that both directions have ended before the sockets close.
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._send(near, far))
                    both.create_task(self._return(far, near))
            except* OSError:
                # One end broke the connection, so both end.
                pass

    async def _send(self, near: socket.socket, far: socket.socket) -> None:
        while data := await self._loop.sock_recv(near, _CHUNK):
            if self.put_delay and data.startswith(b"PUT "):
                await asyncio.sleep(self.put_delay)
            await self._keep_pace(len(data))
            await self._loop.sock_sendall(far, data)
            self.passed += len(data)
        far.shutdown(socket.SHUT_WR)

    async def _return(self, far: socket.socket, near: socket.socket) -> None:
        while data := await self._loop.sock_recv(far, _CHUNK):
            self.returned += len(data)
            await self._loop.sock_sendall(near, data)
        near.shutdown(socket.SHUT_WR)

    async def _keep_pace(self, size: int) -> None:
        if not self.rate:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size / self.rate
        if self._free_at - now > _LEAST_SLEEP:
            await asyncio.sleep(self._free_at - now)
