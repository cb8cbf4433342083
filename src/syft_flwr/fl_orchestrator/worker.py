"""The worker, the process that runs the ClientApp: ``python -m syft_flwr.fl_orchestrator.worker TASKS LIFELINE``.

The process stays alive between messages, so imports, data and models stay loaded. It is separate from the client: a
segfault, ``os._exit`` or the out-of-memory killer ends only the worker. When the client ends or is killed, the lifeline
closes. The worker then kills itself and all processes that it started.
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
from syft_flwr.fl_orchestrator.app_runner import AppRunner, ClientAppCallable, FramedConfig, RunnerSetup
from syft_flwr.fl_orchestrator.codec import records_from_buffers
from syft_flwr.flower import load_app
from syft_flwr.shutdown import unblock
from syft_flwr.transport.base import Reopening, Transport
from syft_flwr.transport.opening import open_again


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first frame that a worker gets.

    The next frames are their own number, the pickled app (empty if ``reference`` names the app), and the initial state.
    """

    runner: RunnerSetup
    transport: Reopening
    app: Literal["reference", "pickle"]
    reference: str
    project_dir: str
    import_path: list[str]


@dataclass(frozen=True, slots=True)
class Task:
    """A request for the worker: its header, the state file of the app, and the run configuration for this message.

    The next frame is the body.
    """

    header: Header
    context: str
    run_config: FramedConfig


@dataclass(frozen=True, slots=True)
class Done:
    """The response to a frame: the facts about a reply, as in :class:`AppReply`, or the reason of a failed load.

    The body of the reply is the next frame.
    """

    context: str = ""
    server_round: str = ""
    records: tuple[str, ...] = ()
    app_error: str = ""
    load_error: str = ""


SETUP = TypeAdapter(WorkerSetup)
TASK = TypeAdapter(Task)
DONE = TypeAdapter(Done)


def _load(setup: WorkerSetup, pickled: bytes) -> tuple[ClientAppCallable, Transport]:
    from flwr.clientapp import ClientApp

    sys.path[:] = setup.import_path
    if setup.app == "pickle":
        import cloudpickle

        # Safe: the parent process sent it over a private socket.
        app = cloudpickle.loads(pickled)
    else:
        app = load_app(setup.reference, AppLoadError, setup.project_dir or None)
    if not isinstance(app, ClientApp):
        raise AppLoadError(
            f"{setup.reference or 'the app'} is a {type(app).__name__}, not a flwr ClientApp",
            hint="Correct clientapp in [tool.flwr.app.components].",
        )
    return app, open_again(setup.transport)


def _die_with_the_client(lifeline: int) -> None:
    os.read(lifeline, 1)
    # This process leads its group, so this also kills the processes that the app started.
    os.killpg(0, signal.SIGKILL)


def serve(tasks: Connection) -> None:
    """Load the app, then answer tasks until the connection closes."""
    setup = SETUP.validate_json(tasks.recv_bytes())
    pickled, state, *arrays = (tasks.recv_bytes() for _ in range(int(tasks.recv_bytes())))
    try:
        app, transport = _load(setup, pickled)
    except Exception as error:  # noqa: BLE001 - user code may raise any exception on import
        logger.error(
            "the ClientApp cannot be loaded; correct it, the next request loads it again:\n{}", traceback.format_exc()
        )
        # The text of an exception may contain private data. The text of an import error only names a module.
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
        reply = runner.run(task.header, body, task.context, task.run_config)
        tasks.send_bytes(DONE.dump_json(Done(reply.context, reply.server_round, reply.records, reply.app_error)))
        tasks.send_bytes(reply.body.encode())


def main() -> None:
    tasks, lifeline = (int(argument) for argument in sys.argv[1:3])
    # Ctrl-C in a terminal reaches the whole foreground group. Only the client handles it, and then ends the worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unblock()
    threading.Thread(target=_die_with_the_client, args=(lifeline,), daemon=True).start()
    serve(Connection(tasks))


if __name__ == "__main__":
    main()
