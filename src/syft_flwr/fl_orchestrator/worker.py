"""The process in which the ClientApp runs: ``python -m syft_flwr.fl_orchestrator.worker TASKS LIFELINE``.

It lives from message to message, so that imports, data and models stay loaded. It is not the watcher: a segfault,
``os._exit`` or the out-of-memory killer ends this process only. When the watcher ends, however it ends, the lifeline
closes and this process goes with all that it started.
"""

import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from loguru import logger
from pydantic import TypeAdapter

from syft_flwr._messaging.wire import Header
from syft_flwr._messaging.wire import body as bodies
from syft_flwr.errors import AppLoadError, SyftFlwrError
from syft_flwr.fl_orchestrator.app_runner import AppRunner, ClientAppCallable, RunnerSetup
from syft_flwr.fl_orchestrator.codec import records_from_buffers
from syft_flwr.flower import load_app
from syft_flwr.shutdown import unblock
from syft_flwr.transport.base import Reopening, Transport
from syft_flwr.transport.opening import open_again


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first frame that a worker gets. The app follows: pickled, or as nothing where it is a reference."""

    runner: RunnerSetup
    transport: Reopening
    app: Literal["reference", "pickle"]
    reference: str
    project_dir: str
    import_path: list[str]


@dataclass(frozen=True, slots=True)
class Task:
    """One request: its header, and the file with the app's state. The body follows in a frame of its own."""

    header: Header
    context: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a frame: the file with the app's new state, or why the app could not be loaded."""

    context: str = ""
    load_error: str = ""


SETUP = TypeAdapter(WorkerSetup)
TASK = TypeAdapter(Task)
DONE = TypeAdapter(Done)


def _load(setup: WorkerSetup, pickled: bytes) -> tuple[ClientAppCallable, Transport]:
    from flwr.clientapp import ClientApp

    sys.path[:] = setup.import_path
    if setup.app == "pickle":
        import cloudpickle

        # Sent by our own parent process over a private socket.
        app = cloudpickle.loads(pickled)
    else:
        app = load_app(setup.reference, AppLoadError, setup.project_dir or None)
    if not isinstance(app, ClientApp):
        raise AppLoadError(f"{setup.reference or 'the app'} is a {type(app).__name__}, not a flwr ClientApp")
    return app, open_again(setup.transport)


def _die_with_the_watcher(lifeline: int) -> None:
    os.read(lifeline, 1)
    # This process leads its group: what the app started goes too.
    os.killpg(0, signal.SIGKILL)


def serve(tasks: Connection) -> None:
    """Load the app, then answer tasks until the connection closes."""
    setup = SETUP.validate_json(tasks.recv_bytes())
    pickled, state, *arrays = (tasks.recv_bytes() for _ in range(int(tasks.recv_bytes())))
    try:
        app, transport = _load(setup, pickled)
    except Exception as error:  # noqa: BLE001 - whatever user code raises on import is told to the watcher
        logger.error("the ClientApp cannot be loaded\n{}", traceback.format_exc())
        # The text of an exception may hold anything; that of an import error names a module.
        why = (
            f"{type(error).__name__}: {error}"
            if isinstance(error, ImportError | SyftFlwrError)
            else type(error).__name__
        )
        tasks.send_bytes(DONE.dump_json(Done(load_error=why)))
        return
    runner = AppRunner(app, setup.runner, transport, records_from_buffers([state, *arrays]))
    tasks.send_bytes(DONE.dump_json(Done()))
    while True:
        try:
            task = TASK.validate_json(tasks.recv_bytes())
            body = bodies.decode(tasks.recv_bytes())
        except EOFError:
            return
        answer, context = runner.run(task.header, body, task.context)
        tasks.send_bytes(DONE.dump_json(Done(context=context)))
        tasks.send_bytes(answer.encode())


def main() -> None:
    tasks, lifeline = (int(argument) for argument in sys.argv[1:3])
    # Ctrl-C in a terminal reaches the whole foreground group; the watcher decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unblock()
    threading.Thread(target=_die_with_the_watcher, args=(lifeline,), daemon=True).start()
    serve(Connection(tasks))


if __name__ == "__main__":
    main()
