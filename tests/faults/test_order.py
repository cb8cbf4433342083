"""A data owner runs the messages of its aggregator in the order in which the aggregator pushed them.

The app counts its messages in its state, so the number in a reply is the position of its message.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit.federation import OWNERS, Federation, answer_of
from faultkit.storage import FolderStorage, MemoryStorage, Storage
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

OWNER, OTHER = OWNERS
MANY = 100


@pytest.fixture(params=["memory", "folder"])
def storage(request: pytest.FixtureRequest) -> Storage:
    found: MemoryStorage | FolderStorage = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage) as federation:
        yield federation


def positions(federation: Federation, ids: list[str]) -> list[int]:
    return [answer_of(reply)["messages"] for reply in federation.pull(ids)]


def test_messages_of_one_push_run_in_its_order(federation: Federation) -> None:
    federation.start()
    ids = federation.push("answer", *[OWNER] * MANY)
    assert positions(federation, ids) == list(range(1, MANY + 1))


def test_messages_of_several_types_run_in_order(tmp_path: Path, storage: Storage) -> None:
    types = ["train", "query.b", "evaluate", "query.a", "query"]
    app = ClientApp()

    def count(message: Message, context: Context) -> Message:
        before = context.state.metric_records.get("counter", MetricRecord({"messages": 0}))
        context.state["counter"] = MetricRecord({"messages": int(str(before["messages"])) + 1})
        return Message(RecordDict({"answer": context.state["counter"]}), reply_to=message)

    for register in (app.train(), app.evaluate(), app.query(), app.query("a"), app.query("b")):
        register(count)
    with Federation(tmp_path / "homes", storage, [OWNER], client_app=app) as federation:
        federation.start()
        messages = federation.messages("answer", *[OWNER] * 30)
        for number, message in enumerate(messages):
            message.metadata.message_type = types[number % len(types)]
        assert federation.grid is not None
        assert positions(federation, list(federation.grid.push_messages(messages))) == list(range(1, 31))


def test_messages_to_two_data_owners_run_in_order(federation: Federation) -> None:
    federation.start()
    ids = federation.push("answer", *OWNERS * 10)
    assert positions(federation, ids[::2]) == positions(federation, ids[1::2]) == list(range(1, 11))


def test_several_pushes_run_in_their_order(federation: Federation) -> None:
    federation.start(OTHER)
    ids = [message for _ in range(10) for message in federation.push("answer", *[OWNER] * 3)]
    federation[OWNER].start()
    assert positions(federation, ids) == list(range(1, 31))


def test_messages_run_in_order_after_a_restart(federation: Federation) -> None:
    federation.start()
    messages = federation.messages("interrupt_the_first_time", OWNER) + federation.messages("answer", *[OWNER] * 30)
    assert federation.grid is not None
    ids = federation.grid.push_messages(messages)
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()
    ids += federation.push("answer", *[OWNER] * 5)
    federation[OWNER].start()
    assert positions(federation, ids) == list(range(1, 37))
