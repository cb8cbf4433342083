"""The three ways in which a ServerApp sends messages and waits: the Message API, the legacy API, and a loop of its own.

Each one sends one message to each of some data owners, and returns by data owner ``"good"`` or the reason of the failure.
"""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from faultkit.federation import Federation, question
from flwr.app import Message
from flwr.server.compat.grid_client_proxy import GridClientProxy
from waiting import eventually

from syft_flwr.fl_orchestrator.nodes import node_id_of

#: Seconds of real time after which a test gives up.
_PATIENCE = 60.0
#: The number of the next round of the legacy API. A strategy counts its rounds.
_ROUNDS = itertools.count(1)
Replies = dict[str, str]
#: The behaviour of the app, for all data owners or for each one.
Behaviour = str | dict[str, str]
#: Called with the federation, the behaviour of the app, the data owners, and a ttl in seconds or None.
Api = Callable[[Federation, Behaviour, Sequence[str], float | None], Replies]


def _of(behaviour: Behaviour, email: str) -> str:
    return behaviour if isinstance(behaviour, str) else behaviour[email]


def _messages(federation: Federation, behaviour: Behaviour, emails: Sequence[str], ttl: float | None) -> list[Message]:
    messages = [message for email in emails for message in federation.messages(_of(behaviour, email), email)]
    for message in messages if ttl else ():
        message.metadata.ttl = ttl
    return messages


def _told(messages: Sequence[Message], replies: Sequence[Message], emails: Sequence[str]) -> Replies:
    by_id = {reply.metadata.reply_to_message_id: reply for reply in replies}
    ordered = [by_id[message.metadata.message_id] for message in messages]
    return {
        email: str(reply.error.reason) if reply.has_error() else "good"
        for email, reply in zip(emails, ordered, strict=True)
    }


def message_api(federation: Federation, behaviour: Behaviour, emails: Sequence[str], ttl: float | None) -> Replies:
    """Send as a strategy of the Message API does, which always passes Flower's default timeout."""
    messages = _messages(federation, behaviour, emails, ttl)
    assert federation.grid
    return _told(messages, list(federation.grid.send_and_receive(messages, timeout=3600)), emails)


def legacy_api(federation: Federation, behaviour: Behaviour, emails: Sequence[str], ttl: float | None) -> Replies:
    """Send as a legacy strategy does: one call for each data owner, in a thread of its own, with the round as group."""
    assert federation.grid
    grid, number = federation.grid, next(_ROUNDS)

    def ask(email: str) -> str:
        proxy = GridClientProxy(node_id_of(email), grid, grid.run.run_id)
        try:
            proxy._send_receive_recorddict(question(_of(behaviour, email)), "query", ttl, number)
        except ValueError as error:
            return str(error).partition("(reason: ")[2].partition("). It originated")[0]
        return "good"

    with ThreadPoolExecutor(len(emails)) as pool:
        return dict(zip(emails, pool.map(ask, emails), strict=True))


def own_loop(federation: Federation, behaviour: Behaviour, emails: Sequence[str], ttl: float | None) -> Replies:
    """Send and pull in a loop, as asynchronous strategies do."""
    messages = _messages(federation, behaviour, emails, ttl)
    assert federation.grid
    grid = federation.grid
    ids = grid.push_messages(messages)
    replies: list[Message] = []

    def all_there() -> bool:
        replies.extend(grid.pull_messages(ids))
        return len(replies) == len(ids)

    eventually(all_there, "all replies", _PATIENCE)
    return _told(messages, replies, emails)


APIS: dict[str, Api] = {"Message API": message_api, "legacy API": legacy_api, "own loop": own_loop}


class Asking:
    """An exchange in a thread of its own."""

    def __init__(
        self, api: Api, federation: Federation, behaviour: Behaviour, emails: Sequence[str], ttl: float | None = None
    ) -> None:
        self._replies: Replies = {}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(api, federation, behaviour, emails, ttl), daemon=True)
        self._thread.start()

    def _run(self, api: Api, *arguments: object) -> None:
        try:
            self._replies = api(*arguments)  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - the test gets it
            self._error = error

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Replies:
        """Wait for the replies, and return them."""
        self._thread.join(_PATIENCE)
        assert self.is_done, "the exchange does not end"
        if self._error:
            raise self._error
        return self._replies
