"""Ends a wait for more nodes than a run has, and tells about a wait for data owners that are not online.

Flower waits for a minimum of nodes without an end. Three kinds of code wait: ``sample_nodes`` of the Message API, the
client manager of the legacy API, and loops of the app over ``get_node_ids()``. Only of the first two the minimum is known.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from syft_flwr.clock import Clock
from syft_flwr.errors import RunError
from syft_flwr.flower import awaited_nodes
from syft_flwr.log import logger
from syft_flwr.runs.events import NodesAwaited
from syft_flwr.text import counted

#: A loop of the app waits for nodes if it looks so often, for so many seconds, while nothing is sent.
_LOOKS = 5
_LOOKS_FOR = 15.0
#: Seconds between two lines about a wait.
_SAY_AGAIN = 60.0


class NodeWaits:
    """The waits of one grid for nodes. Thread-safe.

    Args:
        app: the name of the app, for the log.
        total: the number of data owners of the run.
        clock: the clock of the participant.
        is_busy: returns whether a message of the app has no collected reply.
        emit: gets the event of a wait.
    """

    def __init__(
        self, app: str, total: int, clock: Clock, is_busy: Callable[[], bool], emit: Callable[[NodesAwaited], object]
    ) -> None:
        self._app = app
        self._total = total
        self._clock = clock
        self._is_busy = is_busy
        self._emit = emit
        self._lock = threading.Lock()
        #: The thread of the ServerApp. A thread that only shows the nodes waits for nothing.
        self._thread = 0
        #: The minimum of a client manager that waits now.
        self._awaited = 0
        self._said: float | None = None
        self._emitted: NodesAwaited | None = None
        #: The place of a loop, its number of looks and the time of the first one.
        self._place: object = None
        self._looks = 0
        self._since = 0.0

    def begin(self) -> None:
        """Take the thread of the caller as that of the ServerApp."""
        self._thread = threading.get_ident()
        self.note_progress()

    def note_progress(self) -> None:
        """Record that the app sent a message or got a reply, so that it does not only wait."""
        with self._lock:
            self._place = self._emitted = None

    @contextmanager
    def waiting(self, minimum: int) -> Iterator[None]:
        """Let the client manager wait for ``minimum`` nodes in the ``with`` block.

        Raises:
            RunError: the run has fewer data owners.
        """
        self._require(minimum)
        self._awaited = minimum
        try:
            yield
        finally:
            self._awaited = 0

    def note_look(self, found: int, caller: FrameType | None) -> None:
        """Check a call of ``get_node_ids()`` that returns ``found`` nodes to ``caller``.

        Raises:
            RunError: the caller waits for more nodes than the run has.
        """
        minimum = awaited_nodes(caller) or self._awaited
        if minimum:
            self._require(minimum)
            if found < minimum:
                self._say(f"the strategy waits for {counted(minimum, 'node')}", found, minimum)
        elif threading.get_ident() == self._thread and self._loops(found, caller):
            if found == self._total:
                raise RunError(
                    f"the ServerApp waits for more nodes in a loop over get_node_ids(); this run has {self._owners}",
                    hint="Let the loop wait for at most so many nodes, or add data owners to datasites.",
                )
            self._say("the ServerApp looks for nodes again and again", found, found + 1)

    def _require(self, minimum: int) -> None:
        if minimum > self._total:
            raise RunError(
                f"the strategy waits for {counted(minimum, 'node')}; this run has {self._owners}",
                hint="Lower min_available_nodes and the other minima of the strategy (min_available_clients in the legacy "
                "API), or add data owners to datasites.",
            )

    def _loops(self, found: int, caller: FrameType | None) -> bool:
        """Return whether the app only looks for nodes, from one place in its code and for some time."""
        place = (caller.f_code, caller.f_lasti, found) if caller else None
        now = self._clock.monotonic()
        with self._lock:
            if place is None or place != self._place or self._is_busy():
                self._place, self._looks, self._since = place, 1, now
                return False
            self._looks += 1
            return self._looks >= _LOOKS and now - self._since >= _LOOKS_FOR

    def _say(self, text: str, found: int, needed: int) -> None:
        now, event = self._clock.monotonic(), NodesAwaited(found, needed)
        with self._lock:
            is_new, self._emitted = event != self._emitted, event
            is_due = self._said is None or now - self._said >= _SAY_AGAIN
            if is_due:
                self._said = now
        if is_new:
            self._emit(event)
        if is_due:
            verb = "is" if found == 1 else "are"
            logger.info("{} ({}); {} of {} {} online", text, self._app, found, counted(self._total, "data owner"), verb)

    @property
    def _owners(self) -> str:
        return counted(self._total, "data owner")
