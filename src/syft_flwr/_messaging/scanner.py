"""One thread that looks at changed files at once, and at all files every poll interval.

An event may be missed, repeated or early, so a wake-up is only a hint where to look; the scan every poll interval makes
sure that a missed event costs time and never a message.
"""

import threading
import traceback
from collections.abc import Callable, Collection
from functools import partial

from loguru import logger

from syft_flwr.clock import Clock
from syft_flwr.transport.base import Transport, Watch


class Scanner:
    """Calls ``on_names`` with what changed below ``prefixes`` and ``on_scan`` at the start and every poll interval.

    Both run in this thread, one at a time. An exception in them is logged and the watcher goes on: one bad file must not
    make a participant deaf.
    """

    def __init__(
        self,
        transport: Transport,
        prefixes: Collection[str],
        *,
        on_names: Callable[[set[str]], None],
        on_scan: Callable[[], None],
        clock: Clock,
        name: str,
    ) -> None:
        self._transport = transport
        self._prefixes = prefixes
        self._on_names = on_names
        self._on_scan = on_scan
        self._clock = clock
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start to watch; returns when the first full look is done."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """End the thread after what it is doing; may be called from it."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def wake(self) -> None:
        """Look at everything soon."""
        if self._watch:
            self._watch.wake()

    def _run(self) -> None:
        # Watch first and look then, so that nothing can arrive in between unseen.
        with self._transport.watch(self._prefixes) as watch:
            self._watch = watch
            last_scan = self._scan()
            self._ready.set()
            while not self._stopping.is_set():
                interval = self._transport.properties.poll_interval
                changed = watch.wait(max(0.0, last_scan + interval - self._clock.monotonic()))
                if self._stopping.is_set():
                    return
                if changed:
                    self._guarded(partial(self._on_names, changed))
                if not changed or self._clock.monotonic() - last_scan >= interval:
                    last_scan = self._scan()

    def _scan(self) -> float:
        self._guarded(self._on_scan)
        return self._clock.monotonic()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the outermost loop of this thread
            # Not logger.exception: loguru can print the values of variables, and some of them are keys.
            logger.error("{}: the scanner met an error and continues\n{}", self._thread.name, traceback.format_exc())
