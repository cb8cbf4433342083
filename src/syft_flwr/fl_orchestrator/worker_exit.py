"""The exit of a worker by itself: atexit handlers run and files are flushed, although an app's thread may never end.

Python waits for all non-daemon threads before it runs the atexit handlers. An app may leave a thread that never ends. So after
some seconds a thread of ours does the same work, and ends the process.
"""

import atexit
import gc
import io
import os
import threading
from typing import NoReturn

#: Seconds that non-daemon threads get to end by themselves.
PATIENCE = 2.0


def leave(status: int) -> NoReturn:
    """End this process with ``status``: normally if that is possible, else after :data:`PATIENCE` seconds."""
    ending = threading.Event()
    # The last handler runs first: it tells that Python waits for no thread any more.
    atexit.register(ending.set)
    threading.Thread(target=_insist, args=(status, ending), name="worker-exit", daemon=True).start()
    raise SystemExit(status)


def _insist(status: int, ending: threading.Event) -> None:
    if ending.wait(PATIENCE):
        # The handlers run. The client limits their time.
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - Python has no public call for it
    _flush_files()
    os._exit(status)


def _flush_files() -> None:
    """Flush the files that the app left open, as the end of the interpreter would."""
    for found in gc.get_objects():
        if isinstance(found, io.TextIOWrapper | io.BufferedWriter):
            try:
                found.flush()
            except (OSError, ValueError):
                # It is closed, or its disk is full.
                continue
