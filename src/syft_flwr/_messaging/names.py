"""Where each kind of file lies: SyftBox's RPC layout, used as the names of every transport."""

import re
import secrets
from dataclasses import dataclass

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class AppNames:
    """The names of one app, ``flwr/<app>`` in each participant's datasite."""

    app: str

    def inbox(self, owner: str) -> str:
        """The folder in which ``owner`` receives requests."""
        return f"{owner}/app_data/flwr/{self.app}/rpc/"

    def messages(self, owner: str) -> str:
        return f"{self.inbox(owner)}messages/"

    def request(self, recipient: str, sender: str, message_id: str) -> str:
        return f"{self.messages(recipient)}{sender}/{message_id}.request"

    def response(self, recipient: str, sender: str, message_id: str) -> str:
        """The answer of ``recipient`` (of the request) to ``sender``."""
        return f"{self.messages(recipient)}{sender}/{message_id}.response"

    def heartbeat(self, owner: str) -> str:
        """The sign of life of ``owner``'s watcher."""
        return f"{owner}/app_data/flwr/{self.app}/status/heartbeat.json"

    def objects(self, owner: str) -> str:
        return f"{owner}/app_data/flwr/{self.app}/objects/"

    def object(self, owner: str, object_id: str) -> str:
        # The id starts with the run, so the shard comes from its random end.
        return f"{self.objects(owner)}{object_id[-2:]}/{object_id}.blob"

    def new_object_id(self, run: int, *, answer: bool) -> str:
        """Return a fresh id: the run, and a random number whose first bit is set in an answer's object.

        A participant may be aggregator and data owner at once; each role clears up after itself alone.
        """
        return f"{run:016x}{secrets.randbits(63) | (answer << 63):016x}"

    def is_answer_object(self, object_id: str) -> bool:
        return object_id[16] >= "8"

    def parse_request(self, owner: str, name: str) -> tuple[str, str] | None:
        """Return sender and message id if ``name`` is a request in ``owner``'s inbox."""
        sender, _, leaf = name.removeprefix(self.messages(owner)).partition("/")
        message_id, _, suffix = leaf.partition(".")
        if name.startswith(self.messages(owner)) and suffix == "request" and _ID.fullmatch(message_id):
            return sender, message_id
        return None

    def parse_object(self, owner: str, name: str) -> str | None:
        """Return the object id if ``name`` is an object of ``owner``."""
        object_id = name.rpartition("/")[2].removesuffix(".blob")
        return object_id if _ID.fullmatch(object_id) and name == self.object(owner, object_id) else None


def card(email: str) -> str:
    """The public keys of ``email``."""
    return f"{email}/public/syft_flwr.json"
