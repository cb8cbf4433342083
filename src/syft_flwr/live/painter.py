"""Paints the panels of a run again and again, in a thread of its own: a display neither ends nor delays a run."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from syft_flwr.live.sink import Sink
from syft_flwr.log import logger
from syft_flwr.runs.panel import Panel

#: Seconds to wait at the end for a terminal that blocks.
_PATIENCE = 2.0
#: The least pause, as a multiple of the processor time of a paint, up to a number of seconds.
_REST, _MOST_REST = 9.0, 5.0


class Painter:
    """Shows the panels of ``source`` inside the ``with`` block. An error of the display ends the display alone.

    Args:
        sink: the place for the panels.
        source: returns the panel of this moment; None before there is one. Called in another thread.
        leaves_last: leave the last panel behind in each place, not only where it cannot be removed.
    """

    def __init__(self, sink: Sink, source: Callable[[], Panel | None], *, leaves_last: bool = True) -> None:
        self._sink = sink
        self._source = source
        self._leaves_last = leaves_last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-display", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:
            # A Ctrl-C while the thread starts: it must not paint further.
            self._stop.set()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show the last panel, and end the thread. A terminal that blocks is left behind. Later calls do nothing."""
        self._stop.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._sink.abandon(is_blocked=True)

    def _run(self) -> None:
        try:
            self._sink.open()
            panel = None
            while True:
                began = time.thread_time()
                panel = self._source() or panel
                if panel:
                    self._sink.show(panel)
                # A slow machine paints less often, so that the run keeps its time. A terminal that blocks costs none.
                rest = _REST * (time.thread_time() - began)
                if self._stop.wait(max(self._sink.interval, min(rest, _MOST_REST))):
                    break
            panel = self._source() or panel
            self._sink.close(panel if self._leaves_last else None)
        except BaseException as error:  # noqa: BLE001 - nothing in a display may end a run; rich exits at a broken pipe
            self._sink.abandon(is_blocked=False)
            text = "the display of the run ended, and the run continues: {}: {}; see it with `syft-flwr runs`"
            logger.warning(text, type(error).__name__, error)
