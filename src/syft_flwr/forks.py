"""Lets a forked child close the locks of its parent, and the pipes that show the end of the parent.

A child of ``fork`` has a copy of each open descriptor. Without this, a lock of a killed process stays locked as long as a
child lives, for example a data loader, and a worker does not see that its client ended.
"""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class ClosedInChildren(Protocol):
    """An object with descriptors that only its own process may have."""

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child. It must take no lock: the thread that held it is not in the child."""


_lock = threading.Lock()
_owners: WeakSet[ClosedInChildren] | None = None


def close_in_children(owner: ClosedInChildren) -> None:
    """Call ``owner.close_in_child()`` in each process that Python forks from now on, as long as ``owner`` exists."""
    global _owners  # noqa: PLW0603 - the system has one list of hooks for each process
    with _lock:
        if _owners is None:
            _owners = WeakSet()
            os.register_at_fork(after_in_child=_close_all)
        _owners.add(owner)


def _close_all() -> None:
    global _lock, _owners  # noqa: PLW0603 - as above; another thread may have held the lock
    _lock = threading.Lock()
    owners, _owners = list(_owners or ()), WeakSet()
    for owner in owners:
        owner.close_in_child()


def close_now(fd: int) -> int:
    """Close a descriptor, unless it is -1; return -1 for its owner."""
    if fd >= 0:
        os.close(fd)
    return -1
