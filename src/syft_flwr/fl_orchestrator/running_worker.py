"""One started worker: loads the app, exchanges messages, and ends with all its family."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple, Self

from pydantic import ValidationError

from syft_flwr._messaging.wire import Body
from syft_flwr._messaging.wire import body as bodies
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.pickled_app import PickledApp
from syft_flwr.fl_orchestrator.worker import DONE, SETUP, TASK, Done, Task, WorkerSetup, require_reply
from syft_flwr.fl_orchestrator.worker_command import WorkerCommand, mismatch
from syft_flwr.fl_orchestrator.worker_family import end_members
from syft_flwr.fl_orchestrator.worker_frames import LEAVE, FrameError, Frames, UngreetedError
from syft_flwr.fl_orchestrator.worker_output import WorkerOutput
from syft_flwr.forks import close_in_children
from syft_flwr.log import logger
from syft_flwr.text import printable, signal_name

#: Seconds that an idle worker gets to leave by itself, with its atexit handlers.
_LEAVE = 5.0
#: Seconds between SIGTERM and the end of the input, and between that and SIGKILL.
_GRACE, _CLOSED = 2.0, 0.5
#: Seconds between two lines about a load that lasts.
_REMIND = 60.0
#: Seconds in which a worker command must start a worker. It may fetch an image first.
_GREETING_LIMIT = 600.0
#: Seconds to wait for the last prints of a message.
_SETTLE = 0.2
#: The most bytes of a frame from the worker. The body of a reply is smaller than an envelope; its arrays are objects.
_MAX_FRAME = 64 << 20


class WorkerEndedError(Exception):
    """The worker ended, or was ended because it wrote something else than a reply. Then the text says so."""


class LoadProblem(NamedTuple):
    """Why a worker cannot serve: the text for its owner, and the one that may leave the machine."""

    text: str
    told: str

    @classmethod
    def told_as_it_is(cls, text: str) -> Self:
        """Return a problem with a text that may leave the machine."""
        return cls(text, text)


class RunningWorker:
    """A worker and its threads. The first message is sent to it when it has loaded the app.

    Args:
        command: the command that starts it.
        setup: its settings.
        pickled: the pickled app; empty if ``setup`` has a reference to it.
        state: the frames of the initial state.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(
        self, command: WorkerCommand, setup: WorkerSetup, pickled: bytes | PickledApp, state: Sequence[bytes]
    ) -> None:
        self._setup = setup
        self._pickled = pickled
        self._state = state
        self._mark = uuid.uuid4().hex
        #: The number of messages that it answered.
        self.served = 0
        self._changed = threading.Condition()
        self._is_loading = True
        #: Why the worker cannot serve; None while it loads the app, and if it can.
        self._problem: LoadProblem | None = None
        self._greeted = False
        #: The exit status of the worker; None while it runs.
        self._status: int | None = None
        self._busy = False
        # A socket, because shutdown() ends each wait on it, in any thread. The worker cannot tell it from a pipe.
        self._socket, theirs = socket.socketpair()
        self._frames = Frames(self._socket.fileno(), self._socket.fileno())
        self._output = WorkerOutput(setup.runner.app, setup.log_mark)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command.words(),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._output.descriptor,
                    start_new_session=True,
                    env=command.environment(self._mark),
                )
        except BaseException:
            self._socket.close()
            self._output.discard()
            raise
        self._output.start()
        close_in_children(self)
        #: Whether the client ends it, so that its end is no fault.
        self._must_end = False
        self._threads = [
            threading.Thread(target=target, name=f"worker-{name}", daemon=True)
            for name, target in (("load", self._load), ("end", self._await_end))
        ]
        for thread in self._threads:
            thread.start()

    def close_in_child(self) -> None:
        """Close the connection in a forked child: the worker must see the end of this process."""
        self._socket.close()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def _is_idle(self) -> bool:
        return not (self._is_loading or self._problem or self._busy)

    def wait_until_loaded(self) -> "LoadProblem | None":
        """Wait until the worker has loaded the app. Return why it cannot serve; None if it can."""
        with self._changed:
            while self._is_loading:
                self._changed.wait()
            return self._problem

    def exchange(self, task: Task, body: Body) -> tuple[Done, Body | None]:
        """Give the worker a task. Return the facts about its reply, and the reply if there is one.

        Raises:
            WorkerEndedError: the worker ended before its reply was complete, or wrote something else.
        """
        self._busy = True
        try:
            self._frames.send(TASK.dump_json(task), body.encode())
            done = DONE.validate_json(self._frames.receive(_MAX_FRAME))
            # The prints of a message come before the lines about its reply.
            self._output.settle(_SETTLE)
            reply = None if done.ended else bodies.decode(self._frames.receive(_MAX_FRAME))
            require_reply(task, done, reply)
        except (EOFError, OSError) as error:
            raise WorkerEndedError from error
        except (ValidationError, FrameError, MalformedError) as error:
            reason = "its values have another form" if isinstance(error, ValidationError) else printable(str(error))
            text = "the worker wrote something else than a reply to message {}, and is ended: {}"
            logger.error(text, task.header.id, reason)
            self._terminate()
            raise WorkerEndedError("it wrote something else than a reply to its connection") from error
        self._busy = False
        self.served += 1
        return done, reply

    def ask_to_end(self) -> None:
        """Ask an idle worker to leave, and return at once. End one that works or loads within seconds."""
        self._must_end = True
        if self._is_idle:
            with contextlib.suppress(OSError):
                self._frames.send(LEAVE)
        else:
            self._terminate()

    def end(self) -> int:
        """End the worker and its family, and return its exit status."""
        self._must_end = True
        if self._is_idle:
            self.ask_to_end()
            self._ended_within(_LEAVE)
        elif not self._is_loading:
            # It ends by itself: it failed to load the app, or the app ended it.
            self._ended_within(_LEAVE)
        self._terminate()
        for thread in self._threads:
            thread.join()
        self._output.close()
        self._socket.close()
        return self._process.wait()

    def _terminate(self) -> None:
        if self._status is not None:
            return
        self._signal(signal.SIGTERM)
        if self._ended_within(_GRACE):
            return
        # A command that passes no signal on still passes on the end of the input.
        self._shut_down()
        self._ended_within(_CLOSED)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._status is None and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._status is not None

    def _load(self) -> None:
        # Also after an error that this code does not expect, every message gets a reply.
        problem: LoadProblem | None = LoadProblem.told_as_it_is("its process could not be started")
        try:
            problem = self._greet() or self._give_app()
        except UngreetedError as error:
            shown = printable(error.written.decode(errors="replace"))
            logger.error(
                "SYFT_FLWR_WORKER_COMMAND: the worker command wrote other text to its standard output: {!r}", shown
            )
            problem = LoadProblem.told_as_it_is(
                "the worker command wrote other text to its standard output, which is for the worker only"
            )
            self._terminate()
        except (EOFError, OSError, ValidationError, FrameError):
            problem = self._how_loading_ended()
        finally:
            with self._changed:
                self._problem, self._is_loading = problem, False
                self._changed.notify_all()

    def _greet(self) -> "LoadProblem | None":
        greeting = self._frames.receive_greeting()
        self._greeted = True
        problem = mismatch(greeting, pickled=self._setup.app == "pickle")
        if problem:
            logger.error("{}; install the same release in both environments", problem)
            self._terminate()
        return LoadProblem.told_as_it_is(problem) if problem else None

    def _give_app(self) -> "LoadProblem | None":
        """Send the settings and the app; return why the worker cannot load the app."""
        self._frames.send(SETUP.dump_json(self._setup), str(1 + len(self._state)).encode())
        if isinstance(self._pickled, PickledApp):
            self._frames.send_parts(self._pickled.size, self._pickled.chunks())
        else:
            self._frames.send(self._pickled)
        self._frames.send(*self._state)
        done = DONE.validate_json(self._frames.receive(_MAX_FRAME))
        return LoadProblem(done.load_error, done.load_cause) if done.load_error else None

    def _how_loading_ended(self) -> "LoadProblem":
        self._ended_within(_GRACE)
        problem = LoadProblem.told_as_it_is(f"its process ended while it started ({how(self._status)})")
        if self._must_end:
            return problem
        command = "" if self._greeted else "; if SYFT_FLWR_WORKER_COMMAND is set, check it"
        logger.error(
            "the worker ended while it started ({}); the lines above may tell why{}", how(self._status), command
        )
        return problem

    def _await_end(self) -> None:
        """Wait until the worker ends, then end its family and every wait for its frames."""
        started = time.monotonic()
        while True:
            try:
                self._process.wait(_REMIND if self._is_loading else None)
                break
            except subprocess.TimeoutExpired:
                if self._is_loading:
                    self._remind(time.monotonic() - started)
        # Other processes of the group and of the family may still run: data loaders, or a shell that the app started.
        self._signal(signal.SIGKILL)
        if ended := end_members(self._mark):
            logger.info("ended processes that the app had started: {}", ", ".join(map(str, ended)))
        with self._changed:
            self._status = self._process.returncode
            self._changed.notify_all()
        self._shut_down()

    def _remind(self, seconds: float) -> None:
        if not self._greeted and seconds >= _GREETING_LIMIT:
            text = "SYFT_FLWR_WORKER_COMMAND: the worker command started no worker within {:.0f} s, and is ended"
            logger.error(text, seconds)
            self._terminate()
            return
        logger.info("the worker still loads the ClientApp, for {:.0f} s (process {})", seconds, self._process.pid)


def how(status: int | None) -> str:
    """Return how a process ended, for people."""
    if status is None:
        return "it does not end"
    return f"signal {signal_name(-status)}" if status < 0 else f"exit status {status}"
