"""The script of a test of Flower: the nodes of its grid, the ids of sent messages, and the replies."""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

from flwr.app import Message
from flwr.common.serde import message_from_proto, message_to_proto


@cache
def request_type(name: str) -> type[SimpleNamespace]:
    """Return a class for the requests of this name, which Flower's connection sends and the tests look at."""
    return type(name, (SimpleNamespace,), {})


class Script(Protocol):
    """The part of a test that takes the place of the connection or the storage."""

    def nodes(self, run: int) -> list[int]: ...

    def push(self, run: int, messages: Sequence[Message]) -> list[str]:
        """Return the ids of the script for sent messages."""

    def replies(self, run: int, ids: list[str]) -> list[Message]: ...

    def note_collected(self, ids: set[str]) -> None:
        """Take note that the grid has returned the replies to these messages, and returns them no more."""


class ScriptedStub:
    """The gRPC stub of a test."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def nodes(self, run: int) -> list[int]:
        found = self._stub.GetNodes(request_type("GetNodesRequest")(run_id=run)).nodes
        return [node.node_id for node in found]

    def push(self, run: int, messages: Sequence[Message]) -> list[str]:
        sent = [message_to_proto(message) for message in messages]
        request = request_type("PushAppMessagesRequest")(messages_list=sent, run_id=run)
        return list(self._stub.PushMessages(request).message_ids)

    def replies(self, run: int, ids: list[str]) -> list[Message]:
        request = request_type("PullAppMessagesRequest")(message_ids=ids, run_id=run)
        found = [message_from_proto(proto) for proto in self._stub.PullMessages(request).messages_list]
        for reply in found:
            if not self._stub.PullObject(SimpleNamespace(object_id=reply.metadata.message_id)).object_available:
                raise NotImplementedError("SyftGrid pulls no objects of a reply")
        return found

    def note_collected(self, ids: set[str]) -> None:
        pass


class ScriptedState:
    """The storage of a test."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def nodes(self, run: int) -> list[int]:
        return list(self._state.get_nodes(run))

    def push(self, run: int, messages: Sequence[Message]) -> list[str]:
        return [str(self._state.store_message_ins(message)) for message in messages]

    def replies(self, run: int, ids: list[str]) -> list[Message]:
        return list(self._state.get_message_res(message_ids=set(ids)))

    def note_collected(self, ids: set[str]) -> None:
        self._state.delete_messages(message_ins_ids=ids)
