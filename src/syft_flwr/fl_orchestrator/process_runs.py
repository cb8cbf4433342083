"""The runs that grids of this process serve at the same time.

Flower knows one task in a process, and a new ``Message`` gets the run of this task. With two grids in two threads, a message
of one grid may therefore name the run of the other one. A :class:`GridRun` knows these runs.
"""

import threading

from syft_flwr.flower import SUPERLINK_NODE_ID, set_task_identity


class GridRun:
    """The run of one grid, from its creation to :meth:`end`. Thread-safe."""

    def __init__(self, run: int) -> None:
        self.id = run
        with _LOCK:
            #: The runs that were served here at the same time as this one.
            self.beside = {each.id for each in _SERVED}
            for each in _SERVED:
                each.beside.add(run)
            _SERVED.append(self)
            set_task_identity(run, SUPERLINK_NODE_ID)

    def may_send(self, run: int) -> bool:
        """Return whether a message that names this run can be a message of this grid."""
        with _LOCK:
            return run == self.id or run in self.beside

    def end(self) -> None:
        """Leave the task of the process to the other grids. A second call changes nothing."""
        with _LOCK:
            if self in _SERVED:
                _SERVED.remove(self)
            if _SERVED:
                set_task_identity(_SERVED[-1].id, SUPERLINK_NODE_ID)


_LOCK = threading.Lock()
_SERVED: list[GridRun] = []


def enter_app(run: int, node: int) -> None:
    """Set the task of this process before a ClientApp runs here.

    A grid in the same process keeps its own: a reply of the app takes its run and node from the request.
    """
    with _LOCK:
        if not _SERVED:
            set_task_identity(run, node)
