"""The worker, the process that runs the ClientApp: ``python -P -m syft_flwr.fl_orchestrator.worker``.

The process stays alive between messages, so imports, data and models stay loaded. It is separate from the client: a
segfault, ``os._exit`` or the out-of-memory killer ends only the worker. It gets its frames over its standard input and writes
the replies to its standard output. When the client is killed, the input ends, and the worker ends with its family.
"""

import secrets
import signal
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from syft_flwr._messaging.threads import limit_threads
from syft_flwr._messaging.wire import Body, Header
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT
from syft_flwr.errors import AppLoadError, MalformedError
from syft_flwr.fl_orchestrator.app_exceptions import (
    exit_status,
    how_it_ends,
    load_cause,
    load_text,
    traceback_of,
    type_name,
)
from syft_flwr.fl_orchestrator.app_runner import AppRunner, ClientAppCallable, FramedConfig, RunnerSetup
from syft_flwr.fl_orchestrator.client_link import ClientLink
from syft_flwr.fl_orchestrator.codec import records_from_buffers
from syft_flwr.fl_orchestrator.import_path import import_from
from syft_flwr.fl_orchestrator.notebook_main import show_notebook
from syft_flwr.fl_orchestrator.reply_metrics import bounded
from syft_flwr.fl_orchestrator.state_files import is_state_after
from syft_flwr.fl_orchestrator.worker_exit import leave
from syft_flwr.fl_orchestrator.worker_log import WorkerLog
from syft_flwr.flower import load_app
from syft_flwr.names import is_answer_object, run_of
from syft_flwr.shutdown import unblock
from syft_flwr.text import printable
from syft_flwr.transport.base import Reopening, Transport
from syft_flwr.transport.opening import open_again

#: ``sys.argv`` of the app: the name of a program without arguments, because the arguments of this package are not the app's.
_ARGV = ["syft-flwr-worker"]


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
    #: Folders from which the app is imported, after the standard library.
    import_path: list[str]
    #: Begins the lines that the worker logs; the client chooses it.
    log_mark: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Task:
    """A request for the worker: its header, the state file of the app, and the run configuration for this message.

    The next frame is the body.
    """

    header: Header
    context: str
    run_config: FramedConfig


#: Texts of a worker, which get into logs, records and replies.
_Name = Annotated[str, Field(max_length=100), AfterValidator(printable)]
_Cause = Annotated[str, Field(max_length=MAX_ERROR_TEXT), AfterValidator(printable)]


@dataclass(frozen=True, slots=True)
class Done:
    """The response to a frame: the facts about a reply, as in :class:`AppReply`, or the reason of a failed load.

    The body of the reply is the next frame, if there is a reply. The client checks all of it: an app can write to the
    connection, and a worker command can isolate a worker from the files of its client.
    """

    #: The id of the request; empty after the load.
    message: str = ""
    context: str = ""
    server_round: _Name = ""
    records: Annotated[tuple[_Name, ...], Field(max_length=50)] = ()
    app_error: _Cause = ""
    metrics: Annotated[dict[str, Any], AfterValidator(bounded)] = field(default_factory=dict)
    #: Why the app cannot be loaded, for its owner and for the aggregator.
    load_error: _Cause = ""
    load_cause: _Cause = ""
    #: How the app ends its process: an exit status, or the type of an exception. Nothing else follows.
    ended: _Cause = ""


def require_reply(task: Task, done: Done, body: Body | None) -> None:
    """Raise MalformedError unless this is a reply to the task: of its message, with a state and objects of its own."""
    header = task.header
    if done.message != header.id:
        raise MalformedError("the worker answered another message")
    if done.context != task.context and not is_state_after(done.context, header.run, header.id):
        raise MalformedError("the worker named a file that is no state after this message")
    ids = body.manifest.object_ids if body else []
    if not all(is_answer_object(object_id) and run_of(object_id) == header.run for object_id in ids):
        raise MalformedError("the worker named objects that belong to no reply of this run")


SETUP = TypeAdapter(WorkerSetup)
TASK = TypeAdapter(Task)
DONE = TypeAdapter(Done)


def _load(setup: WorkerSetup, pickled: bytes) -> tuple[ClientAppCallable, Transport]:
    from flwr.clientapp import ClientApp

    import_from(setup.import_path)
    if setup.app == "pickle":
        import cloudpickle

        # Safe: the client sent it over a private connection.
        app = cloudpickle.loads(pickled)
        show_notebook()
    else:
        # The folder is in sys.path already, so Flower does not put it before the standard library.
        app = load_app(setup.reference, AppLoadError, setup.project_dir or setup.import_path[-1])
    if not isinstance(app, ClientApp):
        raise AppLoadError(
            f"{setup.reference or 'the app'} is a {type_name(app)}, not a flwr ClientApp",
            travels=True,
            hint="Correct clientapp in [tool.flwr.app.components].",
        )
    return app, open_again(setup.transport)


def _open_runner(link: ClientLink, log: WorkerLog) -> AppRunner:
    setup = SETUP.validate_json(link.receive())
    log.start(setup.log_mark)
    pickled, state, *arrays = (link.receive() for _ in range(int(link.receive())))
    limit_threads(setup.runner.threads)
    app, transport = _load(setup, pickled)
    return AppRunner(app, setup.runner, transport, records_from_buffers([state, *arrays]), log=log.tell)


def serve(link: ClientLink, log: WorkerLog) -> int:
    """Load the app, then answer tasks until the client asks this process to leave. Return the exit status."""
    try:
        runner = _open_runner(link, log)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything on import
        log.tell(
            f"the ClientApp cannot be loaded; correct it. A client that stays loads it again at the next request:\n{traceback_of(error)}"
        )
        link.send(
            DONE.dump_json(
                Done(load_error=load_text(error)[:MAX_ERROR_TEXT], load_cause=load_cause(error)[:MAX_ERROR_TEXT])
            )
        )
        return 1
    link.send(DONE.dump_json(Done()))
    while frame := link.receive_task():
        task, body = TASK.validate_json(frame), bodies.decode(link.receive())
        try:
            reply = runner.run(task.header, body, task.context, task.run_config)
        except BaseException as error:  # noqa: BLE001 - an app may end its process with any exception
            log.tell(f"the ClientApp ended its process on message {task.header.id}:\n{traceback_of(error)}")
            link.send(DONE.dump_json(Done(task.header.id, task.context, ended=how_it_ends(error))))
            return exit_status(error)
        facts = reply.context, reply.server_round, reply.records, reply.app_error, dict(reply.metrics)
        link.send(DONE.dump_json(Done(task.header.id, *facts)))
        link.send(reply.body.encode())
    return 0


def main() -> None:
    # Ctrl-C in a terminal reaches the whole foreground group. Only the client handles it, and then ends the worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The client may have inherited that SIGTERM is ignored.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    unblock()
    link = ClientLink()
    log = WorkerLog()
    sys.argv[:] = _ARGV
    leave(serve(link, log))


if __name__ == "__main__":
    main()
