"""The names of shared files: which are allowed, how each kind is called, and who may write it.

A name is a path ``<datasite>/…`` in SyftBox's RPC layout, the same over every transport. Settings, transports and the
exchange of messages all ask here, so that a name which one of them accepts is accepted by the others too.

Source for the names that SyftBox never carries: its docs/sync.md.
"""

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from syft_flwr.errors import ConfigError, TransportError

#: Characters. Room for the longest name: two emails of 254, an app name of 64, and the folders between them.
MAX_NAME_LENGTH = 768
REQUEST_SUFFIX = ".request"
RESPONSE_SUFFIX = ".response"
OBJECT_SUFFIX = ".blob"
#: The files of an inbox: peers write and read their own ones.
INBOX_SUFFIXES = (REQUEST_SUFFIX, RESPONSE_SUFFIX)
#: Of a sign of life and of a key card, each of which is replaced.
STATE_SUFFIX = ".json"

_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_APP_NAME_RULE = "1 to 64 letters, digits, '_', '-' and '.', the first a letter or digit, without '..'"
_CARRIED_RULE = "a name that SyftBox synchronises; it passes over folders that are called so"
_SEGMENT = re.compile(r"[A-Za-z0-9@!#$%&'+=^_`{}~-][A-Za-z0-9@!#$%&'+=^_`{}~.-]*")
_NEVER_CARRIED = re.compile(
    r"(dist|venv|logs|__pycache__|icon|syftignore|syft\.sub\.yaml|stream\.(fifo|sock|pipe|accept)|thumbds\.db)"
    r"|.*\.(tmp|log|syftkeep|py[cod])|.*\.(conflict|rejected)(\..*)?|.*(syftrejected|syftconflict|\.tmp-|\.syft\.tmp\.).*",
    re.IGNORECASE,
)
#: How SyftBox renames a file that it sets aside: ``x.request`` becomes ``x.rejected.request``.
_MARKER = re.compile(
    r"\.(?:rejected|conflict|syftrejected|syftconflict)(?:\.[0-9A-Za-z-]+)?(?=\.(?:request|response|blob)$)"
)
_ID = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_INBOX = re.compile(r"(?P<owner>[^/]+)/app_data/flwr/[^/]+/rpc/")
_INBOX_FILE = re.compile(_INBOX.pattern + r"messages/(?P<sender>[^/]+)/[^/]+(?P<suffix>\.request|\.response)")


def is_carried(segment: str) -> bool:
    """Return whether every store keeps a folder or file of this name, one segment of a path."""
    return _SEGMENT.fullmatch(segment) is not None and _NEVER_CARRIED.fullmatch(segment) is None


def is_valid_name(name: str) -> bool:
    """Return whether ``name`` may be the name of a file, ours or a peer's."""
    segments = name.split("/")
    return len(name) <= MAX_NAME_LENGTH and len(segments) > 1 and all(map(is_carried, segments))


def validate_name(name: str) -> str:
    """Return ``name`` if it may be the name of a file, ours or a peer's.

    Raises:
        TransportError: it is absolute, climbs, is hidden or temporary, or has characters that not every store keeps.
    """
    if not is_valid_name(name):
        raise TransportError(f"{name[:MAX_NAME_LENGTH]!r} is not a name that a transport may carry")
    return name


def normalise_app_name(name: str, *, what: str = "app_name") -> str:
    """Return the name that all participants share, without the ``flwr/`` that users may write before it.

    Raises:
        ConfigError: it cannot be a folder that every participant's SyftBox carries.
    """
    bare = name.strip().removeprefix("flwr/") if isinstance(name, str) else ""
    if not _APP_NAME.fullmatch(bare) or ".." in bare:
        raise ConfigError.not_allowed(what, name, _APP_NAME_RULE)
    if not is_carried(bare):
        raise ConfigError.not_allowed(what, name, _CARRIED_RULE)
    return bare


@dataclass(frozen=True, slots=True)
class AppNames:
    """The names of one app, ``flwr/<app>`` in each participant's datasite."""

    app: str

    def inbox(self, owner: str) -> str:
        """Return the folder in which ``owner`` receives requests."""
        return f"{owner}/app_data/flwr/{self.app}/rpc/"

    def messages(self, owner: str) -> str:
        return f"{self.inbox(owner)}messages/"

    def messages_of(self, owner: str, sender: str) -> str:
        """Return the folder in ``owner``'s inbox for the requests of ``sender``."""
        return f"{self.messages(owner)}{sender}/"

    def request(self, recipient: str, sender: str, message_id: str) -> str:
        return f"{self.messages_of(recipient, sender)}{message_id}{REQUEST_SUFFIX}"

    def response(self, recipient: str, sender: str, message_id: str) -> str:
        """Return the name of the reply to a request, which its ``recipient`` writes."""
        return f"{self.messages_of(recipient, sender)}{message_id}{RESPONSE_SUFFIX}"

    def heartbeat(self, owner: str) -> str:
        """Return the name of the sign of life of ``owner``'s client."""
        return f"{owner}/app_data/flwr/{self.app}/status/heartbeat{STATE_SUFFIX}"

    def objects(self, owner: str) -> str:
        return f"{owner}/app_data/flwr/{self.app}/objects/"

    def object(self, owner: str, object_id: str) -> str:
        # The id starts with the run, so the shard comes from its random end.
        return f"{self.objects(owner)}{object_id[-2:]}/{object_id}{OBJECT_SUFFIX}"

    def parse_request(self, owner: str, name: str) -> tuple[str, str] | None:
        """Return sender and message id if ``name`` is a request in ``owner``'s inbox."""
        sender, _, leaf = name.removeprefix(self.messages(owner)).partition("/")
        message_id = leaf.removesuffix(REQUEST_SUFFIX)
        if _ID.fullmatch(message_id) and name == self.request(owner, sender, message_id):
            return sender, message_id
        return None

    def parse_object(self, owner: str, name: str) -> str | None:
        """Return the object id if ``name`` is an object of ``owner``."""
        object_id = name.rpartition("/")[2].removesuffix(OBJECT_SUFFIX)
        return object_id if _ID.fullmatch(object_id) and name == self.object(owner, object_id) else None


def card(email: str) -> str:
    """Return the name of the public keys of ``email``."""
    return f"{email}/public/syft_flwr{STATE_SUFFIX}"


def new_object_id(run: int, *, answer: bool) -> str:
    """Return a fresh id: the run, and a random number with the first bit set in an object of a reply.

    A participant may be aggregator and data owner at once; each role deletes its own objects only.
    """
    return f"{run:016x}{secrets.randbits(63) | (answer << 63):016x}"


def is_answer_object(object_id: str) -> bool:
    return object_id[16] >= "8"


def in_inbox(name: str) -> bool:
    """Return whether a file of this name is a request or a reply, wherever it is stored."""
    return name.endswith(INBOX_SUFFIXES)


def inbox_patterns(user: str) -> list[str]:
    """Return the glob patterns of the files that ``user`` may write and read in an inbox; ``user`` may be a template."""
    return [f"**/{user}/*{suffix}" for suffix in INBOX_SUFFIXES]


def writer_of(name: str) -> str:
    """Return the participant that writes ``name``.

    A request is written by its sender; a reply, and every file outside an inbox, by the owner of its datasite.
    """
    found = _INBOX_FILE.fullmatch(name)
    return found["sender"] if found and found["suffix"] == REQUEST_SUFFIX else name.partition("/")[0]


def may_write(writer: str, name: str) -> bool:
    """Return whether ``name`` may be a file of ``writer``: in its own datasite, or in its own folder of an inbox."""
    if name.startswith(f"{writer}/"):
        return True
    found = _INBOX_FILE.fullmatch(name)
    return found is not None and found["sender"] == writer


def only_writer(prefix: str, me: str) -> str | None:
    """Return the only participant that can have written below the folder ``prefix``; None if there may be several.

    ``me`` is the participant that looks. In its own datasite all files are its own, except for an inbox.
    """
    segments = [segment for segment in prefix.split("/") if segment]
    if segments and segments[0] != me:
        return segments[0]
    # <me>/app_data/flwr/<app>/rpc/messages/<sender>/
    return segments[6] if len(segments) == 7 and segments[4:6] == ["rpc", "messages"] else None


def is_below(name: str, folders: Collection[str]) -> bool:
    """Return whether ``name`` is stored below one of these folders, which end in ``/``."""
    return any(name.startswith(folder) for folder in folders)


def collection(name: str) -> str:
    """Return the folder of which all files have the same readers as ``name``: an object's is the parent of its shard."""
    folder = name.rpartition("/")[0]
    parent, _, last = folder.rpartition("/")
    return parent if _SHARD.fullmatch(last) else folder


def unmarked(name: str) -> str:
    """Return the name that a file had before the sync service set it aside; other names unchanged."""
    return _MARKER.sub("", name)
