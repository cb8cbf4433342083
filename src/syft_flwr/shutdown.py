"""Ends the process of a participant on Ctrl-C or SIGTERM, after its clean-up and without a traceback.

Both signals raise an exception in the main thread. So an aggregator still tells the data owners that its run is over,
and a client still ends its worker. The exit code is 128 plus the number of the signal, as in a shell.

A signal that was ignored when the process started stays ignored: ``nohup`` ignores SIGHUP, and a shell without job
control ignores SIGINT for a command with ``&``. A signal that was only blocked is unblocked.
"""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM ended this process. An app can raise SystemExit with the same code, but not this class."""


_LINES = {128 + signal.SIGINT: "interrupted", 128 + signal.SIGTERM: "terminated"}


def unblock() -> None:
    """Unblock SIGINT and SIGTERM in this thread.

    A process inherits the signal mask of the thread that started it. A blocked signal could not end the process.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Raise Terminated in the main thread at the first SIGTERM; later ones do not interrupt the clean-up.

    Does nothing in another thread, or if SIGTERM is ignored or already has a handler.
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
            raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        # The app may have set a handler of its own.
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread, as Ctrl-C does in the main thread; return at once.

    Where SIGINT is ignored, the main thread gets SIGTERM if this package handles it. In another thread, a call of the
    operating system that blocks ends first.
    """
    if thread.ident is None:
        return
    if thread is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                signal.pthread_kill(thread.ident, number)
                return
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))


@contextmanager
def ending_quietly() -> Iterator[None]:
    """End this process on Ctrl-C or SIGTERM with the exit code of the signal and one line on standard error."""
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
    # A service may have no standard error, or one on a full disk. That must not change the exit code.
    if isinstance(code, int) and code in _LINES and sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{_LINES[code]}\n")
