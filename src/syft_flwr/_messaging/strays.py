"""Deletes own files that came back after their deletion.

A late upload or download of the sync service can bring back a file that its writer deleted. So the writer remembers the
names that it deleted, and looks for them in each scan. It does not list their folders: a peer decides how many files are
in them.
"""

from collections.abc import Iterable

from syft_flwr._messaging.deleted_names import DeletedNames
from syft_flwr._messaging.own_files import discard, discard_again, is_there
from syft_flwr.log_once import LogOnce
from syft_flwr.transport.base import Transport

#: The most names to remember; the oldest ones are forgotten first.
_MOST_NAMES = 4_096
#: How many of them one scan looks for.
_AT_ONCE = 256


class Strays:
    """The files that this process deleted. Thread-safe."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._deleted = DeletedNames(_MOST_NAMES)
        self._logged = LogOnce()

    def discard(self, name: str) -> None:
        """Delete an own file, and remember that it must not be there any more."""
        self._deleted.add(name)
        discard(self._transport, name)

    def discard_again(self) -> None:
        """Delete the files that came back, of some names: each scan looks for the next ones."""
        self._discard_again(self._deleted.next(_AT_ONCE))

    def discard_all_again(self) -> None:
        """Delete the files that came back, of all names."""
        self._discard_again(self._deleted.all())

    def _discard_again(self, names: Iterable[str]) -> None:
        for name in names:
            if is_there(self._transport, name):
                discard_again(self._transport, name, self._logged)
