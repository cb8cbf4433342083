"""Starts the worker of a client, gives it requests, and replaces it after a crash or a withdrawn request.

:class:`WorkerProcess` runs the app in a separate process and :class:`InProcess` in the client's own process. Both
implement :class:`~syft_flwr.fl_orchestrator.relayed_worker.Worker`.
"""

import asyncio
import os
import threading
from collections.abc import Sequence

from flwr.app import RecordDict
from pydantic_core import PydanticSerializationError

from syft_flwr._messaging.wire import Body, Header, failures
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config.user_config import UserConfig
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.app_exceptions import traceback_of, type_name
from syft_flwr.fl_orchestrator.app_runner import AppReply, AppRunner
from syft_flwr.fl_orchestrator.codec import records_to_buffers
from syft_flwr.fl_orchestrator.pickled_app import PickledApp
from syft_flwr.fl_orchestrator.running_worker import RunningWorker, WorkerEndedError, how
from syft_flwr.fl_orchestrator.worker import SETUP, Task, WorkerSetup
from syft_flwr.fl_orchestrator.worker_command import WorkerCommand
from syft_flwr.log import logger
from syft_flwr.text import printable


class WorkerProcess:
    """Runs one worker at a time. It starts the worker when it is needed, and starts a new one after a crash.

    A message that ended a worker is tried once more in a new worker, if the old one had served other messages before: it may
    have grown over them. A first message is not tried again.

    Args:
        setup: the settings of the worker.
        pickled: the pickled app; empty if ``setup`` has a reference to it.
        initial_state: the state of the app in a new run.
        clock: the clock that measures the wait for the worker, and the time until it died.
        command: the command that starts the worker.

    Raises:
        ConfigError: the name of a folder in ``setup`` cannot be written in UTF-8.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        pickled: bytes | PickledApp,
        initial_state: RecordDict,
        clock: Clock | None = None,
        command: WorkerCommand | None = None,
    ) -> None:
        _require_sendable(setup)
        self._setup = setup
        self._pickled = pickled
        self._state: Sequence[bytes] = records_to_buffers(initial_state)
        self._clock = clock or SystemClock()
        self._command = command or WorkerCommand()
        self._lock = threading.Lock()
        self._killed = False
        self._worker: RunningWorker | None = None
        #: The ids of the request that the worker has, and of the last one that :meth:`interrupt` named.
        self._given = self._interrupted = ""

    def load(self) -> str:
        """Start the worker, and wait until it has loaded the app. Return why it cannot; empty if it can, or after a kill."""
        try:
            worker = self._start()
        except OSError as error:
            return f"the worker command cannot be started: {os.strerror(error.errno or 0)}"
        problem = worker.wait_until_loaded() if worker else None
        if problem:
            self._end_worker()
        return "" if self._killed or problem is None else problem.text

    def warm_up(self) -> None:
        """Start the worker and load the app before the first request, without waiting for it."""
        try:
            self._start()
        except OSError:
            # Logged. The next request tries it again.
            return

    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        """Run the app on one request, as :meth:`AppRunner.run` does. If the worker dies, return the body of an error."""
        try:
            return self._run(header, body, context_name, run_config)
        finally:
            with self._lock:
                self._given = ""

    def _run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        began = self._clock.monotonic()
        for may_try_again in (True, False):
            worker = self._loaded_worker(began, context_name)
            if isinstance(worker, AppReply):
                return worker
            loaded, experienced = self._clock.monotonic(), worker.served > 0
            done, answer = None, None
            given = self._give(header.id)
            if given:
                try:
                    done, answer = worker.exchange(Task(header, context_name, run_config), body)
                except WorkerEndedError as error:
                    status = self._end_worker()
                    cause = str(error) or how(status)
            interrupted = self._interrupted == header.id
            if interrupted and given:
                self._end_worker()
                self.warm_up()
            if done and answer is not None:
                reply = answer.spent(wait=loaded - began)
                return AppReply(reply, done.context, done.server_round, done.records, done.app_error, done.metrics)
            if interrupted:
                return AppReply(failures.withdrawn(), context_name)
            if done:
                cause, experienced = done.ended, False
                self._end_worker()
            if not (experienced and may_try_again) or self._killed:
                break
            logger.warning("a worker died on message {} ({}); a new one tries the message again", header.id, cause)
        ran = self._clock.monotonic() - loaded
        return AppReply(self._died(header, cause).spent(wait=loaded - began, run=ran), context_name)

    def _loaded_worker(self, began: float, context_name: str) -> RunningWorker | AppReply:
        """Return the worker after it has loaded the app, or the reply if there is none."""
        try:
            worker = self._start()
        except OSError as error:
            return self._not_loaded(
                f"the worker command cannot be started: {os.strerror(error.errno or 0)}", began, context_name
            )
        if worker is None:
            return AppReply(failures.stopped(), context_name)
        if problem := worker.wait_until_loaded():
            self._end_worker()
            return self._not_loaded(problem.told, began, context_name)
        return worker

    def _give(self, message_id: str) -> bool:
        """Record that the worker gets a request now; return False if the request was interrupted before."""
        with self._lock:
            if self._interrupted == message_id:
                return False
            self._given = message_id
            return True

    def interrupt(self, message_id: str) -> None:
        """End the work on a request that was withdrawn, and begin none on it. A new worker starts. Safe from any thread."""
        with self._lock:
            self._interrupted = message_id
            worker = self._worker if self._given == message_id else None
        if worker:
            # In a thread of its own, because the end of a worker takes seconds if the app ignores SIGTERM.
            threading.Thread(target=worker.ask_to_end, name="worker-interrupt", daemon=True).start()

    def rest(self) -> bool:
        """End the idle worker, which frees its memory; return whether there was one. The next request starts a new one.

        Not while :meth:`run` runs.
        """
        return self._end_worker() is not None

    def _start(self) -> RunningWorker | None:
        """Return the worker, a new one if there is none; None after :meth:`kill`."""
        if self._worker and self._worker.has_ended:
            # It died between two messages.
            self._end_worker()
        with self._lock:
            if self._killed:
                return None
            if self._worker is None:
                try:
                    self._worker = RunningWorker(self._command, self._setup, self._pickled, self._state)
                except OSError as error:
                    logger.error("the worker command cannot be started: {}; correct SYFT_FLWR_WORKER_COMMAND", error)
                    raise
            return self._worker

    def _not_loaded(self, cause: str, began: float, context_name: str) -> AppReply:
        if self._killed:
            return AppReply(failures.stopped(), context_name)
        return AppReply(failures.not_loaded(cause).spent(wait=self._clock.monotonic() - began), context_name)

    def _died(self, header: Header, cause: str) -> Body:
        if self._killed:
            return failures.stopped_while_running()
        logger.error("the worker died on message {} ({}); a new one starts for the next message", header.id, cause)
        return failures.died(cause)

    def _end_worker(self) -> int | None:
        with self._lock:
            worker, self._worker = self._worker, None
        return worker.end() if worker else None

    def kill(self) -> None:
        """End the worker now, even in the middle of a message, and start no other. Safe from any thread."""
        with self._lock:
            self._killed = True
            worker = self._worker
        if worker:
            worker.ask_to_end()

    def close(self) -> None:
        """End the worker and close its connections. An idle worker leaves by itself."""
        self.kill()
        self._end_worker()
        if isinstance(self._pickled, PickledApp):
            self._pickled.close()


def _require_sendable(setup: WorkerSetup) -> None:
    """Raise ConfigError if the settings of a worker cannot be written as JSON. Only paths can be the reason."""
    try:
        SETUP.dump_json(setup)
    except PydanticSerializationError:
        folders = [setup.project_dir, *setup.import_path, setup.runner.contexts, setup.runner.links]
        shown = next((folder for folder in folders if printable(folder) != folder), "of the participant")
        raise ConfigError(
            f"the worker cannot be given the folder {printable(shown)}, because its name cannot be written in UTF-8",
            hint="Rename this folder, or the one above it.",
        ) from None


class InProcess:
    """Runs the app in the process of the client: for apps that cannot be pickled, and for tests."""

    def __init__(self, runner: AppRunner) -> None:
        self._runner = runner

    def load(self) -> str:
        """Return an empty text: the app is loaded already."""
        return ""

    def warm_up(self) -> None:
        pass

    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        try:
            return self._runner.run(header, body, context_name, run_config)
        except (GeneratorExit, asyncio.CancelledError) as error:
            # No signal raises these, so they come from the app, and must not end the client.
            logger.error("the ClientApp ended message {}:\n{}", header.id, traceback_of(error))
            return AppReply(failures.raised(type_name(error)), context_name)

    def interrupt(self, message_id: str) -> None:
        """Do nothing: a running app in this process cannot be ended before its message is done."""

    def rest(self) -> bool:
        """Do nothing and return False: the app stays in this process."""
        return False

    def kill(self) -> None:
        """Do nothing: a running app in this process cannot be ended before its message is done."""

    def close(self) -> None:
        pass
