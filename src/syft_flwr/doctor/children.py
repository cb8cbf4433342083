"""Runs a module of the doctor in a child process, which cannot change, hang or end this one.

The child writes one JSON object to its standard output. All that other code prints in it is dropped. The child and all that
it started end with the time limit, and with this process.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from syft_flwr.fl_orchestrator.worker_command import WorkerCommand
from syft_flwr.fl_orchestrator.worker_family import end_members

#: Bytes of the object.
_MOST = 1 << 20
_PAUSE = 0.1
#: Parts of the object that are read after the time is over. A pipe of Linux has 64 KiB.
_LATE_PARTS = 20
_UNWANTED = "it was given up, because another process needs its place"
#: The object of a child that gives itself up.
_GIVEN_UP = "given-up"
#: Seconds that a child gets to end, once its time is over.
_GRACE = 2.0


class EndedEarlyError(Exception):
    """The child gave no object. The text tells why."""


class TooLateError(EndedEarlyError):
    """The child was ended, because its time was over."""


def run_child(
    module: str,
    arguments: Sequence[str],
    limit: float,
    *,
    command: str = "",
    is_unwanted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run ``module`` in a child, and return the object that it wrote.

    Args:
        module: the full name of a module with a ``main`` that calls :func:`report`.
        arguments: its arguments.
        limit: seconds until it is ended.
        command: the command that starts Python, as for a worker.
        is_unwanted: asked at intervals; True ends the child at once.

    Raises:
        EndedEarlyError: it could not be started, gave no object, or was ended.
    """
    mark = secrets.token_hex(8)
    started = WorkerCommand(command)
    read, write = os.pipe()
    try:
        child = subprocess.Popen(
            [*started.words(module), *arguments],
            # It stays open as long as this process lives, so that the child notices the end.
            stdin=subprocess.PIPE,
            stdout=write,
            stderr=subprocess.DEVNULL,
            env={**started.environment(mark), "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
    except OSError as error:
        os.close(read)
        raise EndedEarlyError(f"the process could not be started: {error.strerror}") from error
    finally:
        os.close(write)
    try:
        with os.fdopen(read, "rb", buffering=0) as output:
            written = _read(output.fileno(), child, limit, is_unwanted)
    finally:
        _end(child, mark)
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EndedEarlyError(f"the process ended without a result ({_status(child.returncode)})")
    if _GIVEN_UP in found:
        raise EndedEarlyError(_UNWANTED)
    return found


def _read(output: int, child: "subprocess.Popen[bytes]", limit: float, is_unwanted: Callable[[], bool]) -> bytes:
    """Return all that the child wrote, up to its end."""
    deadline = time.monotonic() + limit
    written, late = bytearray(), 0
    while late < _LATE_PARTS:
        ready, _, _ = select.select([output], [], [], _PAUSE)
        if time.monotonic() >= deadline:
            # A result that is there counts, because this process may have been stopped meanwhile.
            late = late + 1 if ready else _LATE_PARTS
        data = os.read(output, _MOST) if ready else None
        if data == b"" or len(written) > _MOST:
            # The app may have closed the output, and still run.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(_PAUSE, deadline - time.monotonic()))
                return bytes(written)
            break
        written += data or b""
        if is_unwanted():
            raise EndedEarlyError(_UNWANTED)
    raise TooLateError(f"the process did not end within {limit:.0f} s")


def _end(child: "subprocess.Popen[bytes]", mark: str) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.stdin:
        child.stdin.close()
    child.wait(_GRACE)
    end_members(mark)


def _status(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {-status}"
    return f"exit status {status}"


def report(make: Callable[[], dict[str, Any]], is_unwanted: Callable[[], bool] = lambda: False) -> None:
    """In the child: write the object that ``make`` returns, and drop all else that is printed.

    Args:
        make: makes the object.
        is_unwanted: asked at intervals; True ends the child at once. So it gives way also while its parent is stopped.
    """
    lifeline, output = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    threading.Thread(target=_end_with_parent, args=(lifeline, output, is_unwanted), daemon=True).start()
    sys.argv[1:] = []
    # Without a buffer that a forked child of the app would write again.
    data = json.dumps(make()).encode()
    while data:
        data = data[os.write(output, data) :]


def _end_with_parent(lifeline: int, output: int, is_unwanted: Callable[[], bool]) -> None:
    while True:
        ready, _, _ = select.select([lifeline], [], [], _PAUSE)
        if ready and not os.read(lifeline, 1):
            break
        if is_unwanted():
            os.write(output, json.dumps({_GIVEN_UP: True}).encode())
            break
    # With all processes that the app started in this group.
    os.killpg(0, signal.SIGKILL)
