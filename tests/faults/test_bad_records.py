"""Records that cannot be read at the other side, and values of other types than Flower wants.

The writer refuses them with the record and the key, and the next message is answered.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.federation import OWNERS, Federation, make_context, reason_of
from faultkit.storage import MemoryStorage, carries_message
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.server import ServerAppComponents
from flwr.serverapp import ServerApp

from syft_flwr.errors import ConfigError, LocalProtocolError, RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_client, syftbox_flwr_server

OWNER = OWNERS[0]
OPAQUE = ArrayRecord(
    {
        "quantised": Array("", (), "numpy.ndarray", b"\x01" * 100),
        "sparse": Array("", (), "numpy.ndarray", b"PK\x03\x04" * 30),
        "announced": Array("float32", (2, 3), "numpy.ndarray", b"encrypted"),
        "torch": Array("torch.bfloat16", (2,), "torch", b"\x80\x02"),
    }
)
client_app = ClientApp()


@client_app.query()
def query(message: Message, context: Context) -> Message:
    """Count the messages in the state, and do as the message says."""
    before = context.state.metric_records.get("counter", MetricRecord({"messages": 0}))
    numbers = MetricRecord({"messages": int(str(before["messages"])) + 1})
    context.state["counter"] = numbers
    content = RecordDict({"answer": MetricRecord(dict(numbers))})
    behaviour = str(message.content.config_records["ask"]["behaviour"])
    if behaviour == "error":
        return Message(Error(1, "\ud800"), reply_to=message)
    if behaviour.startswith("state"):
        context.state.update(BAD[behaviour][0]())
    elif behaviour in BAD:
        content.update(BAD[behaviour][0]())
    if "opaque" in message.content:
        content["opaque"] = message.content["opaque"]
    return Message(content, reply_to=message)


def cut_array() -> RecordDict:
    return RecordDict({"w": ArrayRecord({"0": Array("", (), "numpy.ndarray", Array(np.ones(9)).data[:-1])})})


#: For each behaviour, the records that it adds and the reason in the reply.
BAD: dict[str, tuple[Callable[[], RecordDict], str]] = {
    "numbers": (
        lambda: RecordDict({"history": MetricRecord({"losses": [0.5] * 2_000_000})}),
        "the reply cannot be sent or kept: record 'history', key 'losses': 2000000 values in a list are too many",
    ),
    "array": (
        cut_array,
        "the reply cannot be sent or kept: record 'w', key '0': the reader would refuse it: an array of 72 bytes",
    ),
    "text": (
        lambda: RecordDict({"c": ConfigRecord({"x": "\ud800"})}),
        "the reply cannot be sent or kept: record 'c', key 'x': a text cannot be written in UTF-8",
    ),
    "state array": (
        cut_array,
        "context.state cannot be sent or kept: record 'w', key '0': the reader would refuse it: an array of 72 bytes",
    ),
    "state number": (
        lambda: RecordDict({"c": ConfigRecord({"x": 1 << 64})}),
        "context.state cannot be sent or kept: record 'c', key 'x': an integer is beyond 64 bits",
    ),
}


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, [OWNER], client_app=client_app) as federation:
        yield federation


@pytest.mark.parametrize("behaviour", BAD)
def test_reply_that_cannot_be_read_is_an_error_by_name(
    federation: Federation, logged: list[str], behaviour: str
) -> None:
    federation.start()
    federation.assert_served()
    (failed,) = federation.ask(behaviour)
    # The names in the state stay at the data owner, those in a reply are for the aggregator.
    whole = BAD[behaviour][1]
    told = whole.partition(":")[0] if whole.startswith("context.state") else whole
    assert reason_of(failed).startswith(f"{OWNER}: app-raised: {told}")
    assert any(whole in line for line in logged)
    # The state is that before the failed message.
    assert federation.assert_served()[0]["messages"] == 2


def test_error_of_the_app_that_cannot_be_sent_is_named(federation: Federation) -> None:
    federation.start()
    (failed,) = federation.ask("error")
    assert "the reply cannot be sent or kept: the code or the reason of an error cannot be sent" in reason_of(failed)


def test_opaque_arrays_pass_both_ways(federation: Federation) -> None:
    federation.start()
    (reply,) = federation.pull(federation.push("answer", opaque=OPAQUE))  # type: ignore[arg-type]
    assert reply.content["opaque"] == OPAQUE


def test_bad_message_is_refused_at_the_push(federation: Federation, memory: MemoryStorage, logged: list[str]) -> None:
    federation.start()
    federation.assert_served()
    assert federation.grid is not None
    before = set(memory.names())
    good, bad = federation.messages(), federation.messages(**BAD["numbers"][0]())
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="record 'history', key 'losses': 2000000 values"):
            federation.grid.push_messages([*good, *bad])
    sent = [name for name in set(memory.names()) - before if carries_message(name)]
    assert not [name for name in sent if name.endswith(".request")], "nothing of this push was sent"
    assert len([line for line in logged if line.startswith("ERROR") and "use an array" in line]) == 1
    assert federation.assert_served()[0]["messages"] == 2


def no_client(context: Context) -> Any:
    return {"a": "client"}


def test_client_fn_of_another_type_is_named(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], client_app=ClientApp(client_fn=no_client)) as federation:
        federation.start()
        assert federation.grid is not None
        messages = federation.messages()
        for message in messages:
            message.metadata.message_type = "evaluate"
        (failed,) = federation.exchange(messages)
    assert "app-raised: client_fn returned a dict in place of a flwr.client.Client" in reason_of(failed)


@pytest.mark.parametrize("made", [(None, None), None, {"strategy": None}], ids=["tuple", "nothing", "dict"])
def test_server_fn_of_another_type_is_named(federation: Federation, made: object) -> None:
    federation[OWNER].start()
    app = ServerApp(server_fn=lambda _: made)
    context = make_context(federation[OWNER].journal)
    with pytest.raises(RunError, match=f"server_fn returned a {type(made).__name__} in place of Server") as raised:
        syftbox_flwr_server(app, context, [OWNER], federation.app, client=federation.participant)
    assert "return ServerAppComponents(strategy=strategy" in raised.value.hint
    federation[OWNER].join()


def test_server_fn_of_the_right_type_is_called_once(federation: Federation) -> None:
    federation[OWNER].start()
    calls = []

    def server_fn(context: Context) -> ServerAppComponents:
        calls.append(context.run_id)
        raise ValueError("called")

    context = make_context(federation[OWNER].journal)
    with pytest.raises(RunError, match="the ServerApp raised ValueError: called"):
        syftbox_flwr_server(
            ServerApp(server_fn=server_fn),
            context,
            [OWNER],
            federation.app,
            client=federation.participant,
            raise_on_error=True,
        )
    assert calls == [context.run_id]
    federation[OWNER].join()


def wrong_context(**changes: object) -> Any:
    values: dict[str, Any] = {"node_config": {}, "state": RecordDict(), "run_config": {}} | changes
    return Context(run_id=0, node_id=0, **values)


CONTEXTS = {
    "context: a dict in place of a flwr.app.Context": {},
    "context.state: a dict in place of a flwr.app.RecordDict": wrong_context(state={}),
    "context.state: a NoneType in place of": wrong_context(state=None),
    "context.run_config: a NoneType in place of a dict": wrong_context(run_config=None),
    "context.node_config: a str in place of a dict": wrong_context(node_config="a=1"),
    "context.state cannot be kept: record 'w', key '0'": wrong_context(state=cut_array()),
}


@pytest.mark.parametrize("text", CONTEXTS)
def test_wrong_context_is_refused_before_a_start(federation: Federation, text: str) -> None:
    participant, context = federation.participant, CONTEXTS[text]
    with pytest.raises(ConfigError) as at_server:
        syftbox_flwr_server(ServerApp(), context, [OWNER], federation.app, client=participant)
    with pytest.raises(ConfigError) as at_client:
        syftbox_flwr_client(client_app, context, federation.app, client=participant, aggregator=OWNER)
    for raised in (at_server.value, at_client.value):
        assert str(raised).startswith(text)
        assert raised.hint
        assert len(raised.diagnose().splitlines()) == 2
