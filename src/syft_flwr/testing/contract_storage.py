"""The storage for the contract of a transport: three participants, and their rights."""

from typing import Protocol

import pytest

from syft_flwr.errors import TransportError
from syft_flwr.transport.base import Transport

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
#: More addressees of a test; no end is opened for them.
ODD = ("a.b+c@x-y.example.org", "o'neil@x.org", "!#$%&'+=^_`{}~-@x.org", "x" * 64 + "@y.org")
FOLDER = f"{DO}/app_data/flwr/app"
NAME = f"{FOLDER}/objects/ab/one.blob"
INBOX = f"{FOLDER}/rpc/"
REQUEST = f"{INBOX}messages/{DS}/{'0' * 32}.request"
#: Bytes that a test reads at most.
SIZE = 1 << 30


class Storage(Protocol):
    """One storage, empty at the start of each test."""

    #: A change wakes a watch. Without that, who watches looks at the names itself, every second at least.
    pushes_events: bool
    #: Who may write into an inbox may also delete what another participant wrote there.
    peers_delete: bool
    #: An end sees only the files that it may read. Without that, the sync service keeps the others away from it.
    hides_files: bool

    def end(self, email: str) -> Transport:
        """Return the end of ``DS``, ``DO`` or ``OTHER``; the same one each time."""

    def may_read(self, email: str, name: str) -> bool:
        """Return whether the storage would let this participant read the file."""

    def may_write(self, email: str, name: str) -> bool:
        """Return whether the storage would take this new file of this participant's."""

    def set_aside(self, email: str, name: str) -> None:
        """Let the storage refuse a file that this participant writes."""

    # A storage that cannot do one of these calls ``pytest.skip`` with the reason.

    def foreign(self, name: str, data: bytes) -> None:
        """Put a file of ``DO``'s that all can read into the storage, without a transport; its name may be a bad one.

        ``DO`` has put a file before.
        """

    def spoil(self, name: str) -> None:
        """Put something that no transport wrote in the place of a file: a folder, a link, garbage. Each call may differ."""

    def break_down(self) -> None:
        """Let every access to the storage fail from now on. A second call may break it in another way."""


def can_read(transport: Transport, name: str) -> bool:
    """Return whether an end reads this small file."""
    try:
        return bool(transport.get(name, max_size=1 << 20))
    except TransportError:
        return False


def names_in(transport: Transport, prefix: str = f"{FOLDER}/") -> set[str]:
    """Return the names that a list gives."""
    return {entry.name for entry in transport.list(prefix)}


@pytest.fixture
def ds(storage: Storage) -> Transport:
    return storage.end(DS)


@pytest.fixture
def do(storage: Storage) -> Transport:
    return storage.end(DO)


@pytest.fixture
def with_events(storage: Storage) -> None:
    """Skip a test where the storage pushes no events."""
    if not storage.pushes_events:
        pytest.skip("this storage pushes no events")
