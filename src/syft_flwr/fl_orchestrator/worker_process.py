"""Starts the worker of a client, gives it requests, and replaces it after a crash.

:class:`WorkerProcess` runs the app in a separate process and :class:`InProcess` in the client's own process. Both
implement :class:`~syft_flwr.fl_orchestrator.relayed_worker.Worker`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from flwr.app import RecordDict
from loguru import logger

from syft_flwr._messaging.wire import Body, Header, Reason
from syft_flwr._messaging.wire import body as bodies
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config.user_config import UserConfig
from syft_flwr.fl_orchestrator.app_runner import AppReply, AppRunner
from syft_flwr.fl_orchestrator.codec import records_to_buffers
from syft_flwr.fl_orchestrator.worker import DONE, SETUP, TASK, Task, WorkerSetup

#: Seconds between SIGTERM and SIGKILL for a worker.
_GRACE = 2.0


class WorkerProcess:
    """Runs one worker at a time. It starts the worker when it is needed, and starts a new one after a crash.

    Args:
        setup: the settings of the worker.
        pickled: the pickled app; empty if ``setup`` has a reference to it.
        initial_state: the state of the app in a new run.
        clock: the clock that measures the wait for the worker, and the time until it died.
    """

    def __init__(
        self, setup: WorkerSetup, pickled: bytes, initial_state: RecordDict, clock: Clock | None = None
    ) -> None:
        self._setup = setup
        self._first_frames: Sequence[bytes] = [pickled, *records_to_buffers(initial_state)]
        self._clock = clock or SystemClock()
        # Reentrant: _start calls _reap, which takes it too, if a worker died between two messages.
        self._lock = threading.RLock()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._tasks: Connection | None = None
        self._lifeline = -1

    def warm_up(self) -> None:
        """Start the worker and load the app before the first request, without waiting for it."""
        with self._lock:
            self._start()

    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        """Run the app on one request, as :meth:`AppRunner.run` does. If the worker dies, return the body of an error."""
        with self._lock:
            tasks = self._start()
        if tasks is None:
            return AppReply(bodies.failure(Reason.STOPPED, "the data owner stopped"), context_name)
        start = loaded = self._clock.monotonic()
        try:
            load_error = self._wait_until_loaded(tasks)
            loaded = self._clock.monotonic()
            if load_error:
                self._reap()
                answer = bodies.failure(Reason.APP_LOAD, f"the ClientApp cannot be loaded: {load_error}")
                return AppReply(answer.spent(wait=loaded - start), context_name)
            tasks.send_bytes(TASK.dump_json(Task(header, context_name, run_config)))
            tasks.send_bytes(body.encode())
            done = DONE.validate_json(tasks.recv_bytes())
            answer = bodies.decode(tasks.recv_bytes()).spent(wait=loaded - start)
            return AppReply(answer, done.context, done.server_round, done.records, done.app_error)
        except (EOFError, OSError):
            ran = self._clock.monotonic() - loaded
            return AppReply(self._died(header).spent(wait=loaded - start, run=ran), context_name)

    def _start(self) -> Connection | None:
        if self._killed:
            return None
        if self._process is not None and self._process.poll() is not None:
            # It died between two messages.
            self._reap()
        if self._tasks is None:
            ours, theirs = socket.socketpair()
            lifeline, self._lifeline = os.pipe()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __package__ + ".worker", str(theirs.fileno()), str(lifeline)],
                    pass_fds=(theirs.fileno(), lifeline),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            os.close(lifeline)
            self._tasks = Connection(os.dup(ours.fileno()))
            self._loaded = False
            threading.Thread(target=_bury, args=(self._process, ours), name="worker-end", daemon=True).start()
            self._send_setup(self._tasks)
        return self._tasks

    def _send_setup(self, tasks: Connection) -> None:
        # If the worker has died already, run() notices it when it waits for the response.
        with contextlib.suppress(OSError):
            tasks.send_bytes(SETUP.dump_json(self._setup))
            tasks.send_bytes(str(len(self._first_frames)).encode())
            for frame in self._first_frames:
                tasks.send_bytes(frame)

    def _wait_until_loaded(self, tasks: Connection) -> str:
        if self._loaded:
            return ""
        done = DONE.validate_json(tasks.recv_bytes())
        self._loaded = not done.load_error
        return done.load_error

    def _died(self, header: Header) -> Body:
        status = self._reap()
        if self._killed:
            return bodies.failure(Reason.STOPPED, "the data owner stopped while the app ran")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        logger.error("the worker died on message {} ({}); a new one starts for the next message", header.id, how)
        return bodies.failure(Reason.WORKER_DIED, f"the ClientApp's process ended in the middle of the message ({how})")

    def _reap(self) -> int:
        """End the whole process group of the worker, and return the exit status of the worker."""
        with self._lock:
            process, tasks, lifeline = self._process, self._tasks, self._lifeline
            self._process, self._tasks, self._lifeline = None, None, -1
        if tasks:
            tasks.close()
        status = 0
        if process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            # Other processes of the group may still run: data loaders, or a shell that the app started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        if lifeline >= 0:
            os.close(lifeline)
        return status

    def kill(self) -> None:
        """End the worker now, even in the middle of a message, and start no other. Safe from any thread."""
        with self._lock:
            self._killed = True
            process = self._process
        if process and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the worker and close its connections."""
        self.kill()
        self._reap()


def _bury(process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
    """Wait until the worker ends, then kill its child processes and close the connection.

    A forked child (a data loader) inherits the worker's end of the connection. While the child keeps it open, the client
    does not get an end of file and would wait although the worker is dead.
    """
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class InProcess:
    """Runs the app in the process of the client: for apps that cannot be pickled, and for tests."""

    def __init__(self, runner: AppRunner) -> None:
        self._runner = runner

    def warm_up(self) -> None:
        pass

    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        return self._runner.run(header, body, context_name, run_config)

    def kill(self) -> None:
        """Do nothing: a running app in this process cannot be ended before its message is done."""

    def close(self) -> None:
        pass
