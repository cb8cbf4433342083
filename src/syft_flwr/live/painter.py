"""Paints the panels of a run again and again, in a thread of its own: a display neither ends nor delays a run."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from syft_flwr.live.sink import Sink
from syft_flwr.log import logger
from syft_flwr.runs.panel import Panel

#: Seconds to wait at the end for a terminal that blocks.
_PATIENCE = 2.0


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
        self._thread.start()
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
            panel = self._source()
            while True:
                if panel:
                    self._sink.show(panel)
                if self._stop.wait(self._sink.interval):
                    break
                panel = self._source() or panel
            panel = self._source() or panel
            self._sink.close(panel if self._leaves_last else None)
        except BaseException as error:  # noqa: BLE001 - nothing in a display may end a run; rich exits at a broken pipe
            self._sink.abandon(is_blocked=False)
            text = "the display of the run ended, and the run continues: {}: {}; see it with `syft-flwr runs`"
            logger.warning(text, type(error).__name__, error)
