"""Tells the service manager that this process is ready and works: the protocol ``sd_notify`` of systemd, without its library.

Without a service manager, nothing is sent. A process can have several parts, such as the clients of several projects. It is
ready when each part has worked once, and it works as long as each part does. So a part that hangs is noticed.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

#: Seconds between two messages without a change.
_EVERY = 5.0
#: Microseconds for the start after a wait, as ``TimeoutStartSec`` of the unit.
_START = 15 * 60 * 1_000_000
#: Characters of a state that a person reads.
_MOST_TEXT = 200


class ServiceManager:
    """The service manager of this process. Thread-safe; no call fails or waits.

    Args:
        address: the path of its socket, or ``@`` and the name of an abstract one; empty without a service manager.
    """

    def __init__(self, address: str) -> None:
        self.is_present = bool(address)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._lock = threading.Lock()
        self._parts: set[str] = set()
        #: The parts that have worked since the last message.
        self._worked: set[str] = set()
        self._is_ready = False
        self._sent, self._text = 0.0, ""

    def expect(self, part: str) -> None:
        """Wait for this part, too, before the process is ready."""
        with self._lock:
            self._parts.add(part)

    def worked(self, part: str, text: str) -> None:
        """Note that a part works, with its state for people."""
        with self._lock:
            self._worked.add(part)
            if self.is_present and self._parts <= self._worked:
                self._tell(text)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Ask for more time for the start in the ``with`` block, again and again. It waits for a person, without an end."""
        ended = threading.Event()

        def ask() -> None:
            while True:
                self._send(f"EXTEND_TIMEOUT_USEC={_START}", text)
                if ended.wait(_EVERY):
                    return

        asking = threading.Thread(target=ask, name="service-manager", daemon=True)
        if self.is_present:
            asking.start()
        try:
            yield
        finally:
            ended.set()

    def leave(self, part: str) -> None:
        """Wait for this part no longer: it has ended."""
        with self._lock:
            self._parts.discard(part)

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if self._is_ready and text == self._text and now - self._sent < _EVERY:
            return
        self._worked.clear()
        self._is_ready, self._sent, self._text = True, now, text
        self._send("READY=1\nWATCHDOG=1", text)

    def _send(self, message: str, text: str) -> None:
        shown = " ".join(text.split())[:_MOST_TEXT]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            # A manager that does not read must not hold up the work.
            channel.setblocking(False)
            channel.connect(self._address)
            channel.send(f"{message}\nSTATUS={shown}".encode(errors="replace"))


@cache
def service_manager() -> ServiceManager:
    """Return the service manager of this process. The processes that it starts do not inherit it."""
    return ServiceManager(os.environ.pop("NOTIFY_SOCKET", ""))
