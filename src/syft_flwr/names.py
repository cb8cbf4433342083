"""The names of shared files: allowed characters, the name of each kind of file, and its only writer.

A name is a path ``<datasite>/…`` in the RPC layout of SyftBox, and is the same over every transport. Settings,
transports and messaging all use this module, so they accept the same names.

Source of the names that SyftBox does not synchronise: docs/sync.md of SyftBox. Its server also reserves some names of
folders, in any case. They are refused over every transport, so that a project can change its transport.
"""

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from syft_flwr.errors import TransportError

#: In characters; enough for the longest name: two emails of 254, an app name of 64, and the folders between them.
MAX_NAME_LENGTH = 768
REQUEST_SUFFIX = ".request"
RESPONSE_SUFFIX = ".response"
#: The suffix of an object that goes with the scan of the SyftBox daemon.
OBJECT_SUFFIX = ".blob"
#: The suffix of an object or a heartbeat that the SyftBox daemon pushes. It pushes files with the suffix of a request.
PUSHED_SUFFIX = REQUEST_SUFFIX
#: The kinds of files in an inbox. Each peer writes and reads its own ones.
INBOX_SUFFIXES = (REQUEST_SUFFIX, RESPONSE_SUFFIX)
#: The suffix of the key card in the public folder.
STATE_SUFFIX = ".json"
#: The most files with the same bytes that a participant writes for one object: the first one, and the later attempts.
MAX_ATTEMPTS = 8

_SEGMENT = re.compile(r"[A-Za-z0-9@!#$%&'+=^_`{}~-][A-Za-z0-9@!#$%&'+=^_`{}~.-]*")
_NEVER_CARRIED = re.compile(
    r"(dist|venv|logs|__pycache__|icon|syftignore|syft\.sub\.yaml|stream\.(fifo|sock|pipe|accept)|thumbds\.db)"
    r"|api|_internal"
    r"|.*\.(tmp|log|syftkeep|py[cod])|.*\.(conflict|rejected)(\..*)?"
    # The SyftBox client copies a download to such a name first.
    r"|.*\.tmp\.[0-9]+|.*(syftrejected|syftconflict|\.tmp-|\.syft\.tmp\.).*",
    re.IGNORECASE,
)
#: SyftBox marks a file that it sets aside in its name: ``x.request`` becomes ``x.rejected.request``.
_MARKER = re.compile(r"\.(?:syft)?(?P<kind>rejected|conflict)(?:\.[0-9A-Za-z-]+)?(?=\.(?:request|response|blob)$)")
_ID = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_PUSHED_SHARD = "00"
_INBOX = re.compile(r"(?P<owner>[^/]+)/app_data/flwr/[^/]+/rpc/")
_INBOX_FILE = re.compile(_INBOX.pattern + r"messages/(?P<sender>[^/]+)/[^/]+(?P<suffix>\.request|\.response)")
_OBJECT_LEAF = re.compile(r"(?P<id>[0-9a-f]{32})(?:\.(?P<attempt>[1-7]))?(?P<suffix>\.blob|\.request)")
_LEAF = re.compile(r"[0-9a-f]{32}(\.[1-7])?\.(blob|request|response)|(heartbeat|aggregator|card)\.request")
_STATUS = re.compile(r"[^/]+/app_data/flwr/[^/]+/status/[^/]+")


def is_carried(segment: str) -> bool:
    """Return whether every transport can store a file or folder of this name, one segment of a path."""
    return _SEGMENT.fullmatch(segment) is not None and _NEVER_CARRIED.fullmatch(segment) is None


def is_valid_name(name: str) -> bool:
    """Return whether ``name`` may be the name of a shared file of any participant."""
    segments = name.split("/")
    return len(name) <= MAX_NAME_LENGTH and len(segments) > 1 and all(map(is_carried, segments))


def validate_name(name: str) -> str:
    """Return ``name`` if it may be the name of a shared file.

    Raises:
        TransportError: the name is absolute, hidden or temporary, contains ``..``, or has a character that some
            transport cannot store.
    """
    if not is_valid_name(name):
        raise TransportError(f"{name[:MAX_NAME_LENGTH]!r} is not a name that a transport may carry")
    return name


@dataclass(frozen=True, slots=True)
class ObjectName:
    """The parts of the name of an object's file.

    An object is one content under one id. If the sync service gives up a file, its writer writes the same bytes as
    another ``attempt``. ``pushed`` tells whether the name is one that the SyftBox daemon sends in real time.
    """

    id: str
    attempt: int = 0
    pushed: bool = False


@dataclass(frozen=True, slots=True)
class AppNames:
    """The names of the files of one app. They are below ``app_data/flwr/<app>`` in each datasite."""

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
        """Return the name of the reply to a request. The ``recipient`` of the request writes it."""
        return f"{self.messages_of(recipient, sender)}{message_id}{RESPONSE_SUFFIX}"

    def status(self, owner: str) -> str:
        """Return the folder with the small files that ``owner`` replaces, readable by its peers in this app."""
        return f"{owner}/app_data/flwr/{self.app}/status/"

    def heartbeat(self, owner: str) -> str:
        """Return the name of the heartbeat of ``owner``'s client."""
        return f"{self.status(owner)}heartbeat{PUSHED_SUFFIX}"

    def old_heartbeat(self, owner: str) -> str:
        """Return the name of the heartbeat of a client of protocol version 1."""
        return f"{self.status(owner)}heartbeat{STATE_SUFFIX}"

    def aggregator_heartbeat(self, owner: str) -> str:
        """Return the name of the heartbeat of ``owner`` as aggregator. One email can have both roles."""
        return f"{self.status(owner)}aggregator{PUSHED_SUFFIX}"

    def pushed_card(self, owner: str) -> str:
        """Return the name of the copy of the key card that the SyftBox daemon pushes to the peers."""
        return f"{self.status(owner)}card{PUSHED_SUFFIX}"

    def objects(self, owner: str) -> str:
        return f"{owner}/app_data/flwr/{self.app}/objects/"

    def pushed_objects(self, owner: str) -> str:
        """Return the folder of all pushed objects. In a new folder, the SyftBox daemon can miss the first write."""
        return f"{self.objects(owner)}{_PUSHED_SHARD}/"

    def object(self, owner: str, object_id: str, *, attempt: int = 0, pushed: bool = False) -> str:
        """Return the name of the file of an object. ``attempt`` is below ``MAX_ATTEMPTS``."""
        suffix = PUSHED_SUFFIX if pushed else OBJECT_SUFFIX
        return self.object_at(owner, f"{object_id}{f'.{attempt}' if attempt else ''}{suffix}")

    def object_at(self, owner: str, leaf: str) -> str:
        """Return the name of the file of an object. ``leaf`` is the last part of the name."""
        if leaf.endswith(PUSHED_SUFFIX):
            return f"{self.pushed_objects(owner)}{leaf}"
        # The id starts with the run, so only its end is random enough to name the shard.
        return f"{self.objects(owner)}{leaf.partition('.')[0][-2:]}/{leaf}"

    def parse_request(self, owner: str, name: str) -> tuple[str, str] | None:
        """Return sender and message id if ``name`` is a request in ``owner``'s inbox."""
        return self._parse_message(owner, name, REQUEST_SUFFIX)

    def parse_response(self, owner: str, name: str) -> tuple[str, str] | None:
        """Return the sender and the id of the request if ``name`` is a reply in ``owner``'s inbox."""
        return self._parse_message(owner, name, RESPONSE_SUFFIX)

    def _parse_message(self, owner: str, name: str, suffix: str) -> tuple[str, str] | None:
        sender, _, leaf = name.removeprefix(self.messages(owner)).partition("/")
        message_id = leaf.removesuffix(suffix)
        if _ID.fullmatch(message_id) and name == f"{self.messages_of(owner, sender)}{message_id}{suffix}":
            return sender, message_id
        return None

    def parse_object(self, owner: str, name: str) -> ObjectName | None:
        """Return the parts of ``name`` if it is the file of an object of ``owner``."""
        found = _OBJECT_LEAF.fullmatch(name.rpartition("/")[2])
        if found is None:
            return None
        parsed = ObjectName(found["id"], int(found["attempt"] or 0), found["suffix"] == PUSHED_SUFFIX)
        return parsed if name == self.object(owner, parsed.id, attempt=parsed.attempt, pushed=parsed.pushed) else None


def card(email: str) -> str:
    """Return the name of the key card of ``email``, the file with its public keys."""
    return f"{email}/public/syft_flwr{STATE_SUFFIX}"


def new_object_id(run: int, *, answer: bool) -> str:
    """Return a new object id of 32 hex digits: the run, then a random number.

    The first bit of the random number is set for objects of a reply. A participant may be aggregator and data owner at
    once, and each role must delete only its own objects.
    """
    return f"{run:016x}{secrets.randbits(63) | (answer << 63):016x}"


def is_object_id(text: str) -> bool:
    """Return whether ``text`` has the form of an object id."""
    return _ID.fullmatch(text) is not None


def run_of(object_id: str) -> int:
    """Return the run of an object, see :func:`new_object_id`."""
    return int(object_id[:16], 16)


def is_answer_object(object_id: str) -> bool:
    """Return whether an object belongs to a reply, see :func:`new_object_id`."""
    return object_id[16] >= "8"


def in_inbox(name: str) -> bool:
    """Return whether a file of this name is a request or a reply, in an inbox."""
    return _INBOX_FILE.fullmatch(name) is not None


def is_pushed(name: str) -> bool:
    """Return whether the SyftBox daemon sends a file of this name in real time, in any folder."""
    return name.endswith(INBOX_SUFFIXES)


def is_of_messages(leaf: str) -> bool:
    """Return whether the last part of a name is that of a file that this package writes for messages."""
    return _LEAF.fullmatch(leaf) is not None


def is_object(name: str) -> bool:
    """Return whether a file of this name is an object."""
    return not in_inbox(name) and _OBJECT_LEAF.fullmatch(name.rpartition("/")[2]) is not None


def is_state(name: str) -> bool:
    """Return whether a file of this name is a key card or a heartbeat. Its writer replaces it."""
    return name.endswith(STATE_SUFFIX) or _STATUS.fullmatch(name) is not None


def inbox_patterns(user: str) -> list[str]:
    """Return the glob patterns of the inbox files that ``user`` may read and write; ``user`` may be a template."""
    return [f"**/{user}/*{suffix}" for suffix in INBOX_SUFFIXES]


def writer_of(name: str) -> str:
    """Return the email of the participant that writes the file ``name``.

    The sender writes a request. The owner of the datasite writes every other file, replies included.
    """
    found = _INBOX_FILE.fullmatch(name)
    return found["sender"] if found and found["suffix"] == REQUEST_SUFFIX else name.partition("/")[0]


def may_write(writer: str, name: str) -> bool:
    """Return whether ``writer`` may write ``name``, a file in its own datasite or in its own folder of an inbox."""
    if name.startswith(f"{writer}/"):
        return True
    found = _INBOX_FILE.fullmatch(name)
    return found is not None and found["sender"] == writer


def only_writer(prefix: str, me: str) -> str | None:
    """Return the only participant that can have written below the folder ``prefix``; None if several can.

    ``me`` is the participant of this process. All files in its datasite are its own, except in an inbox.
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
    """Return the folder of ``name`` in which all files have the same readers; for an object, the parent of its shard."""
    folder = name.rpartition("/")[0]
    parent, _, last = folder.rpartition("/")
    return parent if _SHARD.fullmatch(last) else folder


def unmarked(name: str) -> str:
    """Return the name that a file had before SyftBox marked it as rejected or in conflict; other names unchanged."""
    return _MARKER.sub("", name)


def is_rejected(name: str) -> bool:
    """Return whether SyftBox marked this file as rejected: its writer has no permission."""
    found = _MARKER.search(name)
    return found is not None and found["kind"] == "rejected"


def is_conflict_copy(name: str) -> bool:
    """Return whether SyftBox set this file aside, because it met two files of one name. It syncs only the other one."""
    found = _MARKER.search(name)
    return found is not None and found["kind"] == "conflict"
