"""The family of a worker: the worker and all processes that it or its app started, also those in sessions of their own.

The client starts each worker with a mark of its own in the environment, and children inherit it. On Linux, ``/proc`` shows
the environment of each process of this user. A process that clears its environment, or that a service starts (a
container of docker), is not found. Other systems have no such list: there, only the process group of the worker ends.
"""

import os
import signal
import time
from pathlib import Path

from syft_flwr.log import logger

#: The variable with the mark. It is no setting.
MARK = "SYFT_FLWR_WORKER_MARK"

_PROC = Path("/proc")
#: Searches for members, each after a pause in seconds. A member may start another process before it ends.
_SEARCHES, _PAUSE = 40, 0.05


def members(mark: str) -> list[int]:
    """Return the process ids of the living members, without this process; nothing if the system does not show them."""
    found = [int(entry.name) for entry in _PROC.glob("[0-9]*") if entry.name.isdigit()]
    return [process for process in found if process != os.getpid() and _is_member(process, mark)]


def end_members(mark: str) -> list[int]:
    """Kill all members. Return those that the call found.

    A member that cannot be ended, for example in a call of a broken driver, is named in a log line.
    """
    ended: dict[int, None] = {}
    left: list[int] = []
    for _ in range(_SEARCHES):
        left = members(mark)
        if not left:
            return list(ended)
        for process in left:
            ended[process] = None
            _kill(process, mark)
        time.sleep(_PAUSE)
    logger.warning("the app's processes {} cannot be ended; end them by hand", ", ".join(map(str, left)))
    return list(ended)


def _is_member(process: int, mark: str) -> bool:
    try:
        environment = (_PROC / str(process) / "environ").read_bytes()
    except OSError:
        # It ended, or belongs to another user.
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def _kill(process: int, mark: str) -> None:
    try:
        handle = os.pidfd_open(process)
    except OSError:
        return
    try:
        # Once more, because another process may have got the number of a member that ended.
        if _is_member(process, mark):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return
    finally:
        os.close(handle)
