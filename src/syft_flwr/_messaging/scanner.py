"""Runs a thread that handles changed files immediately, and scans all files at every poll interval.

Events of the transport can be missed, repeated or early. An event is therefore only a hint, and the regular scan finds
the files of missed events.

A folder can vanish while a participant runs, for example when its disk is unmounted. This is told once, and the scans
continue, so that the work continues when the folder is back.
"""

import threading
import traceback
from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial

from syft_flwr.clock import Clock
from syft_flwr.disk_errors import told
from syft_flwr.errors import StorageError, StoreError, TransportError
from syft_flwr.first_call import FirstCall
from syft_flwr.log import logger
from syft_flwr.transport.base import Transport, Watch

#: Seconds to wait for the end of a call of the transport.
_PATIENCE = 5.0
#: Seconds until the next attempt if the watch fails.
_PAUSE = 1.0


class Scanner:
    """Calls ``on_names`` with the names of changed files below ``prefixes``, and ``on_scan`` at every poll interval.

    Both run in the thread of the scanner, one at a time; ``on_scan`` also runs at the start. ``on_turn`` is called after
    each of them, with the trouble of the last scan. It must not raise. The scanner logs an
    exception in them and continues, so that one bad file does not stop a participant.
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
        on_turn: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._transport = transport
        self._prefixes = prefixes
        self._on_names = on_names
        self._on_scan = on_scan
        self._on_turn = on_turn
        self._clock = clock
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._watch: Watch | None = None
        #: Ends the watch.
        self._closing = ExitStack()
        self._first = FirstCall("the first look at the files")
        #: The trouble of the last scan, and the kinds that were told since the last one without any.
        self._trouble = ""
        self._troubles: set[type[Exception]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, and return after the first scan.

        Raises:
            TransportError: the transport cannot watch its files, or the thread ended in the first scan. No thread runs.
        """
        # The watch starts before the scan, so that it reports files that arrive during the scan.
        self._watch = self._closing.enter_context(self._transport.watch(self._prefixes))
        self._first.start(self._thread)

    def stop(self) -> None:
        """Stop the thread after its current call, and wait for that some seconds at most: a transport can hang.

        The thread itself may call this.
        """
        self._stopping.set()
        self.wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                text = "{}: a call of the transport does not end; it is left behind, and ends with this process"
                logger.warning(text, self._thread.name)

    def wake(self) -> None:
        """Start a scan as soon as possible."""
        self._woken.set()
        if self._watch:
            self._watch.wake()

    def _run(self) -> None:
        with self._closing:
            self._first.run(self._scan, self._look_until_stopped)

    def _look_until_stopped(self, last_scan: float) -> None:
        while not self._stopping.is_set():
            interval = self._transport.properties.poll_interval
            changed = self._wait(max(0.0, last_scan + interval - self._clock.monotonic()))
            if self._stopping.is_set():
                return
            if changed:
                self._guarded(partial(self._on_names, changed))
            self._on_turn(self._trouble)
            if not changed or self._woken.is_set() or self._clock.monotonic() - last_scan >= interval:
                last_scan = self._scan()

    def _wait(self, seconds: float) -> set[str]:
        """Wait for changed names. If the watch fails, wait for the next attempt."""
        changed: set[str] = set()

        def wait() -> None:
            if self._watch:
                changed.update(self._watch.wait(seconds))

        if not self._guarded(wait):
            self._stopping.wait(_PAUSE)
        return changed

    def _scan(self) -> float:
        self._woken.clear()
        if self._guarded(self._on_scan):
            self._trouble = ""
            if self._troubles:
                self._troubles.clear()
                logger.info("{}: the files can be looked at again", self._thread.name)
        self._on_turn(self._trouble)
        return self._clock.monotonic()

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Do some work, and log its error; return whether there was none."""
        try:
            with told():
                work()
        except (TransportError, StorageError, StoreError) as error:
            self._trouble = error.diagnose()
            if not self._stopping.is_set() and type(error) not in self._troubles:
                self._troubles.add(type(error))
                text = "{}: the files cannot be looked at now, and are looked at again at the next scan: {}"
                logger.error(text, self._thread.name, error.diagnose())
        except Exception:  # noqa: BLE001 - the outermost loop of this thread
            if self._stopping.is_set():
                # The databases are closed, because this call did not end in time.
                return False
            # Not logger.exception: loguru can print the values of variables, and some of them are keys.
            self._trouble = "the scanner met an error of this program; its log tells more"
            text = "{}: the scanner met an error and continues; report this as a bug\n{}"
            logger.error(text, self._thread.name, traceback.format_exc())
        else:
            return True
        return False
