"""The windows of SyftBox's races, and holds that keep one open until a test releases it."""

import contextlib
import threading
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase

from syft_flwr.emulators.syftbox.faithful.lives import Life, Waits

_PATIENCE = 20.0


class Window(StrEnum):
    """A point of the work at which a test can make a client or the server stand still."""

    #: A client begins a cycle.
    BEFORE_CYCLE = "before the cycle"
    #: The client has the server's view, and has not walked its disk.
    AFTER_VIEW = "after the view"
    #: The client has listed the folder of this file, and has not looked at the file.
    IN_WALK = "in the walk"
    #: The client has walked its disk, and has not read its journal.
    AFTER_WALK = "after the walk"
    #: The client has all three snapshots, and has done nothing.
    AFTER_JOURNAL = "after the journal"
    #: The client begins to send the body of an upload.
    UPLOAD = "upload"
    #: A downloaded file is beside its place, under its temporary name.
    COPY = "copy"
    #: The sender takes a frame from its queue, and has written nothing of it.
    FRAME = "frame"
    #: The server takes a frame from the queue of this receiver.
    DELIVERY = "delivery"
    #: The receiver takes a frame from its own queue.
    RECEIPT = "receipt"
    #: A pushed file is in its place, and is not in the receiver's journal.
    PLACED = "placed"
    #: The store has the bytes of a file of this sender, but the file is not stored yet.
    PUT = "put"
    #: The server has listed the store, and has not replaced its index. It has no email.
    LISTING = "listing"


#: A hold of one of these waits until the client stands there, because each cycle passes them.
_OF_EACH_CYCLE = {Window.BEFORE_CYCLE, Window.AFTER_VIEW, Window.IN_WALK, Window.AFTER_WALK, Window.AFTER_JOURNAL}


class Hold:
    """One window that a test holds open. All work with a matching name that reaches it stands there until the release.

    Attributes:
        names: the files whose work stands there now; an empty name for work without a file.
    """

    def __init__(self, waits: Waits, email: str, window: Window, pattern: str) -> None:
        self._waits = waits
        self._email = email
        self._pattern = pattern
        self.window = window
        self.names: list[str] = []
        self.released = False

    def applies(self, email: str, window: Window, name: str) -> bool:
        return window is self.window and email == self._email and fnmatchcase(name, self._pattern)

    def wait(self, count: int = 1, timeout: float = _PATIENCE) -> None:
        """Wait until ``count`` works stand in the window.

        Raises:
            TimeoutError: they did not come within ``timeout`` real seconds.
        """
        with self._waits.changed:
            if not self._waits.changed.wait_for(lambda: len(self.names) >= count, timeout):
                raise TimeoutError(f"nothing of {self._email or 'the server'} came to the window {self.window!r}")

    def release(self) -> None:
        """Let all works continue; later ones pass."""
        self.released = True
        self._waits.notify()


class Windows:
    """The holds of a network."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._lock = threading.Lock()
        self._holds: list[Hold] = []

    @contextlib.contextmanager
    def hold(self, email: str, window: Window, pattern: str = "*", *, wait: bool = True) -> Iterator[Hold]:
        """Hold a window for the duration of a ``with`` block.

        A window of each cycle is reached when the block begins, if ``wait`` is True; for the others use
        :meth:`Hold.wait`.
        """
        held = Hold(self._waits, email, window, pattern)
        with self._lock:
            self._holds.append(held)
        try:
            if wait and window in _OF_EACH_CYCLE:
                held.wait()
            yield held
        finally:
            with self._lock:
                self._holds.remove(held)
            held.release()

    def stand(self, email: str, window: Window, name: str, *lives: Life) -> None:
        """Stand in a window as long as a hold wants it.

        Raises:
            LifeEndedError: one of the lives ended.
        """
        with self._lock:
            held = next((one for one in self._holds if one.applies(email, window, name)), None)
        if held:
            with self._waits.changed:
                held.names.append(name)
                self._waits.changed.notify_all()
            try:
                self._waits.until(*lives, ready=lambda: held.released)
            finally:
                held.names.remove(name)
        for life in lives:
            life.check()
