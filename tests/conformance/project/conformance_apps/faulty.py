"""Apps that fail in a chosen way.

The ServerApp sends a ``query`` to every node twice. In the first exchange, the node with the lowest id behaves as the
run config says, and the others reply. In the second exchange all must reply, so that a node that does not recover is
seen. The history has the content of each reply, or the code and reason of its error.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from conformance_apps.outcome import keep
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

TIMEOUT = 60
#: A text that an error must not carry to the server unless the data owner allows it.
SECRET = "patient 4711"

not_an_app = "a string"


def answer(message: Message) -> Any:
    return Message(RecordDict({"answer": MetricRecord({"process": os.getpid()})}), reply_to=message)


def raise_error(message: Message) -> Any:
    raise ValueError(SECRET)


def raise_system_exit(message: Message) -> Any:
    raise SystemExit(3)


def return_none(message: Message) -> Any:
    return None


def return_wrong_type(message: Message) -> Any:
    return RecordDict({"answer": MetricRecord({"process": os.getpid()})})


def return_own_instruction(message: Message) -> Any:
    return Message(message.content, message.metadata.src_node_id, "query")


def return_reply_to_another(message: Message) -> Any:
    reply = answer(message)
    reply.metadata.__dict__["_reply_to_message_id"] = "of-no-request"
    return reply


def exit_at_once(message: Message) -> Any:
    os._exit(3)


def be_killed(message: Message) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def crash(message: Message) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)
    return None


def never_end(message: Message) -> Any:
    while True:
        time.sleep(3600)


def never_end_nor_listen(message: Message) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return never_end(message)


BEHAVIOURS: dict[str, Callable[[Message], Any]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        answer,
        raise_error,
        raise_system_exit,
        return_none,
        return_wrong_type,
        return_own_instruction,
        return_reply_to_another,
        exit_at_once,
        be_killed,
        crash,
        never_end,
        never_end_nor_listen,
    )
}

client_app = ClientApp()


@client_app.query()
def query(message: Message, context: Context) -> Message:
    reply: Message = BEHAVIOURS[str(message.content["ask"]["behaviour"])](message)
    return reply


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    nodes = sorted(grid.get_node_ids())
    behaviours = dict.fromkeys(nodes, "answer") | {nodes[0]: str(context.run_config["behaviour"])}
    history = {"misbehaved": _ask(grid, behaviours), "afterwards": _ask(grid, dict.fromkeys(nodes, "answer"))}
    keep(context, ArrayRecord(), history)


def _ask(grid: Grid, behaviours: dict[int, str]) -> dict[str, Any]:
    messages = [
        Message(RecordDict({"ask": ConfigRecord({"behaviour": behaviour})}), node, "query")
        for node, behaviour in behaviours.items()
    ]
    return {
        str(reply.metadata.src_node_id): {"error": reply.error.code, "reason": reply.error.reason}
        if reply.has_error()
        else {"answer": dict(reply.content["answer"])}
        for reply in grid.send_and_receive(messages, timeout=TIMEOUT)
    }


raising_server_app = ServerApp()


@raising_server_app.main()
def raise_after_one_exchange(grid: Grid, context: Context) -> None:
    _ask(grid, dict.fromkeys(grid.get_node_ids(), "answer"))
    raise RuntimeError("the ServerApp was told to fail")


def client_fn_that_raises(context: Context) -> Any:
    raise RuntimeError(SECRET)


client_fn_app = ClientApp(client_fn=client_fn_that_raises)
