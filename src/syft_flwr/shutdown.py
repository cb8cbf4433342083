"""Ends a participant's process on Ctrl-C or SIGTERM, with its work wound up and no traceback.

Both unwind the main thread, so that an aggregator still tells the data owners that its run is over and a watcher still
ends its worker. The exit codes are those that a shell gives such a process: 128 and the number of the signal.

A signal that was ignored when the process started stays ignored: ``nohup`` does that to SIGHUP, and a shell without job
control does it to SIGINT of a command with ``&``. A signal that was only blocked is let through.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LINES = {128 + signal.SIGINT: "interrupted", 128 + signal.SIGTERM: "terminated"}


def unblock() -> None:
    """Let Ctrl-C and SIGTERM reach this thread, though the program that started the process blocked them.

    A process inherits the mask of the thread that started it, and a signal that stays blocked could not end it.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Raise SystemExit(143) in the main thread at the first SIGTERM; later ones do not cut the winding up short.

    Does nothing in another thread, and where SIGTERM has a handler already or is ignored.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    asked = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        # An app may have put its own in the place.
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end this process with one line on standard error and their exit code."""
    try:
        with ending_on_sigterm():
            if threading.current_thread() is threading.main_thread():
                unblock()
            yield
    except KeyboardInterrupt:
        _say(128 + signal.SIGINT)
        raise SystemExit(128 + signal.SIGINT) from None
    except SystemExit as ended:
        _say(ended.code)
        raise


def _say(code: object) -> None:
    if isinstance(code, int) and code in _LINES:
        sys.stderr.write(f"{_LINES[code]}\n")
