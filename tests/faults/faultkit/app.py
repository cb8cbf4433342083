"""A ClientApp with many behaviours: each message names one, and each call is noted in a journal.

The path of the journal is in the run config. So the same app works in this process, in a worker, and in a client that
was started from the command line.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faultkit.journal import Journal
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

#: A private value that no error may carry to the aggregator, unless the data owner allows tracebacks.
SECRET = "patient 4711"

no_app = "a string"


def answer(message: Message, context: Context) -> Any:
    """Reply with the process id, and with the number of messages that the app's state has counted in this run."""
    before = context.state.metric_records.get("counter", MetricRecord({"messages": 0}))
    messages = int(before["messages"]) + 1
    context.state["counter"] = MetricRecord({"messages": messages})
    numbers = MetricRecord({"process": os.getpid(), "messages": messages})
    return Message(RecordDict({"answer": numbers}), reply_to=message)


def answer_large(message: Message, context: Context) -> Any:
    """Reply with arrays that are too large for an envelope, so that they are stored as objects."""
    reply = answer(message, context)
    reply.content["arrays"] = ArrayRecord({"zeros": Array(np.zeros(20_000))})
    return reply


def echo(message: Message, context: Context) -> Any:
    """Reply with the arrays of the request."""
    reply = answer(message, context)
    reply.content["arrays"] = message.content["arrays"]
    return reply


def answer_many_records(message: Message, context: Context) -> Any:
    """Reply with so many small records that the envelope of the reply is large."""
    reply = answer(message, context)
    for number in range(2_000):
        reply.content[f"array {number}"] = ArrayRecord({"zeros": Array(np.zeros(8))})
    return reply


def answer_at_the_gate(message: Message, context: Context) -> Any:
    journal_of(context).wait_at_gate()
    return answer(message, context)


def answer_large_at_the_gate(message: Message, context: Context) -> Any:
    """Reply after the gate opens, with arrays that are too large for an envelope over any transport."""
    reply = answer_at_the_gate(message, context)
    reply.content["arrays"] = ArrayRecord({"zeros": Array(np.zeros(500_000))})
    return reply


def raise_error(message: Message, context: Context) -> Any:
    raise ValueError(SECRET)


def return_nothing(message: Message, context: Context) -> Any:
    return None


def return_records(message: Message, context: Context) -> Any:
    return RecordDict({"answer": MetricRecord({"process": os.getpid()})})


def return_an_error(message: Message, context: Context) -> Any:
    return Message(Error(7, "the data is too small"), reply_to=message)


def spoil_the_state(message: Message, context: Context) -> Any:
    answer(message, context)
    raise ValueError(SECRET)


def exit_the_interpreter(message: Message, context: Context) -> Any:
    raise SystemExit(3)


def exit_at_once(message: Message, context: Context) -> Any:
    os._exit(3)


def read_address_zero(message: Message, context: Context) -> Any:
    return ctypes.string_at(0)


def be_killed(message: Message, context: Context) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def interrupt_the_first_time(message: Message, context: Context) -> Any:
    """End the client as Ctrl-C does, if the app runs in its process. Answer from the second call on."""
    if len(journal_of(context).calls_of(message.metadata.message_id)) == 1:
        raise KeyboardInterrupt
    return answer(message, context)


def never_end(message: Message, context: Context) -> Any:
    while True:
        time.sleep(3600)


def never_end_nor_listen(message: Message, context: Context) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return never_end(message, context)


def never_end_the_first_time(message: Message, context: Context) -> Any:
    """Start a child process and never return. Answer from the second call on."""
    if len(journal_of(context).calls_of(message.metadata.message_id)) > 1:
        return answer(message, context)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]):
        return never_end(message, context)


BEHAVIOURS: dict[str, Callable[[Message, Context], Any]] = {
    function.__name__: function
    for function in (
        answer,
        answer_large,
        answer_many_records,
        echo,
        answer_at_the_gate,
        answer_large_at_the_gate,
        raise_error,
        return_nothing,
        return_records,
        return_an_error,
        spoil_the_state,
        exit_the_interpreter,
        exit_at_once,
        read_address_zero,
        be_killed,
        interrupt_the_first_time,
        never_end,
        never_end_nor_listen,
        never_end_the_first_time,
    )
}


def journal_of(context: Context) -> Journal:
    return Journal(Path(str(context.run_config["journal"])))


client_app = ClientApp()


@client_app.query()
def query(message: Message, context: Context) -> Message:
    behaviour = str(message.content["ask"]["behaviour"])
    journal_of(context).note(
        message=message.metadata.message_id,
        run=message.metadata.run_id,
        node=context.node_id,
        context=context.run_id,
        ttl=message.metadata.ttl,
    )
    reply: Message = BEHAVIOURS[behaviour](message, context)
    return reply


server_app = ServerApp()


@server_app.main()
def fail(grid: Grid, context: Context) -> None:
    raise RuntimeError("the ServerApp was told to fail")


waiting_server_app = ServerApp()


@waiting_server_app.main()
def wait(grid: Grid, context: Context) -> None:
    """Write a line to the journal when the run starts, then wait for a signal."""
    journal_of(context).note(message="", run=context.run_id, node=context.node_id, context=context.run_id)
    while True:
        time.sleep(3600)


asking_server_app = ServerApp()


@asking_server_app.main()
def ask(grid: Grid, context: Context) -> None:
    """Send a message to each data owner, wait at the gate, then send another one."""
    for behaviour in ("answer", "answer_at_the_gate"):
        asked = ConfigRecord({"behaviour": behaviour})
        messages = [Message(RecordDict({"ask": asked}), node, "query") for node in grid.get_node_ids()]
        grid.send_and_receive(messages, timeout=60)
