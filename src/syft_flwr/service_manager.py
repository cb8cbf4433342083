"""Tells the service manager that this process is ready and works: the protocol ``sd_notify`` of systemd, without its library.

Without a service manager, nothing is sent. A process can have several parts, such as the clients of several projects. It is
ready when each part has worked once, and it works as long as each part does. So a part that hangs is noticed.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from functools import cache

#: Seconds between two messages without a change.
_EVERY = 5.0
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
                self._tell(" ".join(text.split())[:_MOST_TEXT])

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
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            # A manager that does not read must not hold up the work.
            channel.setblocking(False)
            channel.connect(self._address)
            channel.send(f"READY=1\nWATCHDOG=1\nSTATUS={text}".encode(errors="replace"))


@cache
def service_manager() -> ServiceManager:
    """Return the service manager of this process. The processes that it starts do not inherit it."""
    return ServiceManager(os.environ.pop("NOTIFY_SOCKET", ""))
