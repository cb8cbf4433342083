"""The storage under test of the transport contract: three participants, and their permissions."""

from typing import Protocol

import pytest

from syft_flwr.errors import TransportError
from syft_flwr.transport.base import Transport

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
#: Valid emails with unusual characters; the tests use them only as readers.
ODD = ("a.b+c@x-y.example.org", "o'neil@x.org", "!#$%&'+=^_`{}~-@x.org", "x" * 64 + "@y.org")
FOLDER = f"{DO}/app_data/flwr/app"
NAME = f"{FOLDER}/objects/ab/one.blob"
INBOX = f"{FOLDER}/rpc/"
REQUEST = f"{INBOX}messages/{DS}/{'0' * 32}.request"
#: The most bytes that a test reads.
SIZE = 1 << 30


class Storage(Protocol):
    """The storage under test. It is empty at the start of each test.

    If a storage cannot do one of the calls below :meth:`set_aside`, it calls ``pytest.skip`` with the reason.
    """

    #: Whether a change wakes a watch. Otherwise a caller must look at the names itself, at least every second.
    pushes_events: bool
    #: Whether a peer that may write a name in an inbox may also delete a file of another participant there.
    peers_delete: bool
    #: Whether a transport itself hides the files that its participant may not read. Otherwise the sync service does.
    hides_files: bool

    def end(self, email: str) -> Transport:
        """Return the transport of ``DS``, ``DO`` or ``OTHER``; the same one for each call."""

    def may_read(self, email: str, name: str) -> bool:
        """Return whether this participant may read the file."""

    def may_write(self, email: str, name: str) -> bool:
        """Return whether this participant may write a new file of this name."""

    def set_aside(self, email: str, name: str) -> None:
        """Make the storage refuse a file of this name that this participant writes."""

    def foreign(self, name: str, data: bytes) -> None:
        """Write a file of ``DO``, readable by all, into the storage without a transport.

        The name can be invalid. Before this call, the test has written a file as ``DO``.
        """

    def spoil(self, name: str) -> None:
        """Replace a file by an invalid object: a folder, a link or garbage. Each call can use another kind."""

    def break_down(self) -> None:
        """Make every access to the storage fail from now on. A second call can use another kind of failure."""


def can_read(transport: Transport, name: str) -> bool:
    """Return whether a transport can read this small file."""
    try:
        return bool(transport.get(name, max_size=1 << 20))
    except TransportError:
        return False


def names_in(transport: Transport, prefix: str = f"{FOLDER}/") -> set[str]:
    """Return the names that a transport lists below ``prefix``."""
    return {entry.name for entry in transport.list(prefix)}


@pytest.fixture
def ds(storage: Storage) -> Transport:
    return storage.end(DS)


@pytest.fixture
def do(storage: Storage) -> Transport:
    return storage.end(DO)


@pytest.fixture
def with_events(storage: Storage) -> None:
    """Skip a test if the storage pushes no events."""
    if not storage.pushes_events:
        pytest.skip("this storage pushes no events")
