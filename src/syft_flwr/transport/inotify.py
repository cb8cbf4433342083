"""The file events of the Linux kernel (man 7 inotify), read by one thread.

watchdog is used on other systems only. Its reader of inotify watches a whole tree, with a recursive walk, so a peer with
very deep or very many folders ended its thread or used up the watches of the kernel.
"""

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from typing import NamedTuple

CREATE, WRITTEN = 0x100, 0x8
MOVED_FROM, MOVED_TO = 0x40, 0x80
DELETE = 0x200
IS_FOLDER = 0x4000_0000
#: The kernel removed a watch, because its folder was deleted.
IGNORED = 0x8000
#: Events were lost, because the reader was too slow.
OVERFLOW = 0x4000
_ONLY_FOLDER, _NO_LINK = 0x0100_0000, 0x0200_0000
_MASK = CREATE | WRITTEN | MOVED_FROM | MOVED_TO | DELETE | _ONLY_FOLDER | _NO_LINK
_HEAD = struct.Struct("iIII")
_BUFFER = 1 << 16


class KernelEvent(NamedTuple):
    """A change of the entry ``name`` in the folder with the descriptor ``watch``; -1 for an overflow."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One instance of inotify. Several threads may use it; one of them reads.

    Raises:
        OSError: the system has no instance left.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._stopping = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.poll()
        for fd in (self._fd, self._stopping):
            self._poll.register(fd, select.POLLIN)

    def add(self, path: str) -> int:
        """Watch a folder; return its descriptor, which is the same for a folder that is watched already.

        Raises:
            OSError: the folder does not exist, is a link, or may not be read, or the system has no watch left.
        """
        return self._checked(self._libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK))

    def remove(self, watch: int) -> None:
        """Watch a folder no longer. A descriptor of a deleted folder is not an error."""
        self._libc.inotify_rm_watch(self._fd, watch)

    def read(self) -> list[KernelEvent] | None:
        """Wait for the next events and return them; None after :meth:`stop`."""
        ready = [fd for fd, _ in self._poll.poll()]
        if self._stopping in ready:
            return None
        try:
            return list(_parsed(os.read(self._fd, _BUFFER)))
        except BlockingIOError:
            return []

    def stop(self) -> None:
        """Let :meth:`read` return None from now on."""
        os.eventfd_write(self._stopping, 1)

    def close(self) -> None:
        """Free the instance and all its watches, after the reader has ended."""
        for fd in (self._fd, self._stopping):
            os.close(fd)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def _parsed(data: bytes) -> Iterator[KernelEvent]:
    start = 0
    while start < len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, start)
        start += _HEAD.size + length
        yield KernelEvent(watch, mask, os.fsdecode(data[start - length : start].rstrip(b"\0")))
