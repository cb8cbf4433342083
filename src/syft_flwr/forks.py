"""Lets a forked child close the locks of its parent, and the pipes that show the end of the parent.

A child of ``fork`` has a copy of each open descriptor. Without this, a lock of a killed process stays locked as long as a
child lives, for example a data loader, and a worker does not see that its client ended.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Protocol
from weakref import WeakSet


class ClosedInChildren(Protocol):
    """An object with descriptors that only its own process may have."""

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child. It must take no lock: the thread that held it is not in the child."""


#: Held while Python forks. A signal handler may fork in the thread that holds it.
_lock = threading.RLock()
_owners: WeakSet[ClosedInChildren] | None = None


def close_in_children(owner: ClosedInChildren) -> None:
    """Call ``owner.close_in_child()`` in each process that Python forks from now on, as long as ``owner`` exists."""
    global _owners  # noqa: PLW0603 - the system has one list of hooks for each process
    with _lock:
        if _owners is None:
            _owners = WeakSet()
            os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_close_all)
        _owners.add(owner)


@contextlib.contextmanager
def without_fork() -> Iterator[None]:
    """Let no other thread fork while an owner opens or closes a descriptor, and records its number. It must not block."""
    with _lock:
        yield


def _close_all() -> None:
    global _owners
    try:
        owners, _owners = list(_owners or ()), WeakSet()
        for owner in owners:
            # An error of one owner must not keep the descriptors of the others open.
            with contextlib.suppress(OSError):
                owner.close_in_child()
    finally:
        # The thread that forked took it, and is the only one here.
        _lock.release()


def close_now(fd: int) -> int:
    """Close a descriptor, unless it is -1; return -1 for its owner."""
    if fd >= 0:
        os.close(fd)
    return -1
