"""A SyftGrid in place of Flower's grids, with data owners that give the replies that a test of Flower scripted.

Flower's tests script the connection or the storage of a grid: the nodes, the ids of messages, and the replies. Here a
client of a data owner gives each scripted reply, and it travels as files over a transport in memory. The ids of SyftGrid
are its own, so :class:`GridUnderTest` translates them to those of the script.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from flowerkit.scripts import Script, ScriptedState, ScriptedStub
from flwr.app import Context, Message, RecordDict
from flwr.supercore.run import Run

from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.client import ClientSetup
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.fl_orchestrator.serving import open_serving
from syft_flwr.transport.memory import MemoryNetwork

#: Closed after each test.
opened = ExitStack()

_APP = "flower-tests"
_AGGREGATOR = "ds@university.example"
#: Some tests send messages to nodes that they do not list.
_SPARE = 3
#: Seconds until a scripted reply must have arrived.
_PATIENCE = 20.0

#: Makes the reply of a data owner to a message.
Answer = Callable[[Message], Message]


class _Nodes:
    """Maps the numbers that a test gives to its nodes to data owners; our own ids come from emails."""

    def __init__(self, emails: list[str]) -> None:
        self.emails = emails
        self.ids: list[int] = []
        self._owners: dict[int, str] = {}

    def email(self, number: int) -> str:
        return self._owners.setdefault(number, self.emails[len(self._owners) % len(self.emails)])


class _Owner:
    """A data owner that gives each reply as soon as it knows both the request and its answer."""

    def __init__(self, network: MemoryNetwork, email: str) -> None:
        self._answers: dict[str, Answer] = {}
        self._known = threading.Condition()
        participant = _participant(network, email, aggregator=_AGGREGATOR)
        context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
        setup = ClientSetup(self._reply, context, _APP, None, participant, _AGGREGATOR)
        client = opened.enter_context(open_serving(setup))
        serving = threading.Thread(target=client.serve, name=email)
        serving.start()
        opened.callback(serving.join)
        opened.callback(client.stop)

    def set_answer(self, message_id: str, answer: Answer) -> None:
        with self._known:
            self._answers[message_id] = answer
            self._known.notify_all()

    def _reply(self, message: Message, _context: Context) -> Message:
        asked = message.metadata.message_id
        with self._known:
            if not self._known.wait_for(lambda: asked in self._answers, _PATIENCE):
                raise AssertionError(f"the script has no answer to {asked}")
            return self._answers[asked](message)


class _Sending(SyftGrid):
    """Tells about each message after it was sent, also inside of ``send_and_receive``."""

    def __init__(
        self, emails: list[str], participant: Participant, note_sent: Callable[[Sequence[Message]], None]
    ) -> None:
        super().__init__(_APP, emails, participant)
        self._note_sent = note_sent

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        batch = list(messages)
        ids = super().push_messages(batch)
        self._note_sent(batch)
        return ids

    def wait(self, ids: list[str]) -> None:
        self._caller.wait(ids, timeout=_PATIENCE)


class GridUnderTest:
    """Passes each call of a test to a SyftGrid; its constructor takes the arguments of Flower's grids."""

    def __init__(self, state_factory: Any = None, *, nodes: int = 0, **_unused: Any) -> None:
        self.state = state_factory.state() if state_factory else None
        #: The tests set it.
        self._grpc_stub: Any = None
        self._network = MemoryNetwork()
        listed = self.state.get_nodes.return_value if self.state else ()
        count = max(nodes, len(listed) if isinstance(listed, list) else 0) + _SPARE
        self._nodes = _Nodes([f"do{place}@hospital.example" for place in range(count)])
        self._grid = _Sending(self._nodes.emails, _participant(self._network, _AGGREGATOR), self._note_sent)
        self._grid._nodes = self._nodes
        opened.callback(self._grid.close)
        self._owners: dict[str, _Owner] = {}
        #: By each id of the script, the id of SyftGrid and the number of the node.
        self._sent: dict[str, tuple[str, int]] = {}

    def script(self) -> Script:
        return ScriptedState(self.state) if self.state else ScriptedStub(self._grpc_stub)

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        return self._grid.run

    def get_node_ids(self) -> list[int]:
        self._nodes.ids = self.script().nodes(self.run.run_id)
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._name(message_id) for message_id in self._grid.push_messages(messages)]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        asked = list(message_ids)
        replies = self.script().replies(self.run.run_id, asked)
        for reply in replies:
            if reply.metadata.reply_to_message_id not in self._sent:
                self._send_for(reply)
        self._give(replies)
        ids = [self._sent[name][0] for name in asked]
        self._grid.wait(ids)
        arrived = self._grid.pull_messages(ids)
        assert not self._grid.pull_messages(ids), "a reply came twice"
        return self._translated(arrived)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        def give_replies() -> None:
            self._give(self.script().replies(self.run.run_id, list(self._sent)))

        self._after_push = give_replies
        return self._translated(self._grid.send_and_receive(messages, timeout=timeout))

    def close(self) -> None:
        self._grid.close()

    def _after_push(self) -> None:
        """Do nothing: the replies to pushed messages are given when the test pulls them."""

    def _note_sent(self, messages: Sequence[Message]) -> None:
        names = self.script().push(self.run.run_id, messages)
        for name, message in zip(names, messages, strict=True):
            # The id in the message, so that ids in another order are a failure.
            self._sent[name] = message.metadata.message_id, message.metadata.dst_node_id
        self._after_push()

    def _send_for(self, reply: Message) -> None:
        """Send the message that a test only claims to have sent."""
        node = reply.metadata.src_node_id
        message = Message(RecordDict(), node, reply.metadata.message_type)
        [message_id] = SyftGrid.push_messages(self._grid, [message])
        self._sent[reply.metadata.reply_to_message_id] = message_id, node

    def _give(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            if reply.metadata.reply_to_message_id in self._sent:
                message_id, node = self._sent[reply.metadata.reply_to_message_id]
                self.owner(node).set_answer(message_id, lambda _asked, reply=reply: reply)

    def owner(self, node: int) -> _Owner:
        email = self._nodes.email(node)
        if email not in self._owners:
            self._owners[email] = _Owner(self._network, email)
        return self._owners[email]

    def _name(self, message_id: str) -> str:
        return next(name for name, (known, _node) in self._sent.items() if known == message_id)

    def _translated(self, arrived: list[Message]) -> list[Message]:
        for reply in arrived:
            reply.metadata.__dict__["_reply_to_message_id"] = self._name(reply.metadata.reply_to_message_id)
        self.script().note_collected({reply.metadata.reply_to_message_id for reply in arrived})
        return arrived


class MockedGrid(GridUnderTest):
    """Takes the place of a ``Mock`` of a grid: the test sets the nodes and makes the replies."""

    def __init__(self) -> None:
        super().__init__(nodes=120)
        self.get_node_ids = _Mocked(self._look)  # type: ignore[assignment,method-assign]
        self.send_and_receive = _Mocked(self._ask)  # type: ignore[assignment,method-assign]
        self._grid.set_run(61016)

    def script(self) -> Script:
        raise AssertionError("a mocked grid has no script of its connection")

    def _look(self) -> list[int]:
        self._nodes.ids = list(self.get_node_ids.return_value)  # type: ignore[attr-defined]
        return self._grid.get_node_ids()

    def _ask(self, messages: Iterable[Message], **named: Any) -> list[Message]:
        return self._grid.send_and_receive(messages, **named)

    def _note_sent(self, messages: Sequence[Message]) -> None:
        make_replies = self.send_and_receive.side_effect  # type: ignore[attr-defined]
        for message in messages:
            owner = self.owner(message.metadata.dst_node_id)
            owner.set_answer(message.metadata.message_id, lambda asked: next(iter(make_replies([asked]))))


class _Mocked:
    """A method that records its calls as a ``Mock`` does."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.return_value: Any = None
        self.side_effect: Any = None
        self._method = method
        self._calls = Mock()

    def __call__(self, *values: Any, **named: Any) -> Any:
        self._calls(*values, **named)
        return self._method(*values, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)


def _participant(network: MemoryNetwork, email: str, **settings: str) -> Participant:
    home = Path(tempfile.mkdtemp())
    opened.callback(shutil.rmtree, home)
    transport = opened.enter_context(closing(network.transport(email)))
    return Participant(load_settings(environ={}, email=email, home=home, **settings), transport, in_process=True)
