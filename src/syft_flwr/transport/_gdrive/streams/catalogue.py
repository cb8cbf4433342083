"""The catalogue of known files by name, as of the last poll. The transport answers calls from it.

A peer decides how many files it has. So each peer has a budget of names, and the one that was not used for the longest
time goes first.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from syft_flwr.names import writer_of
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.turns import in_turn

#: The order of files with the same name: position, creation time, id. A peer can delete a file and write its name again.
Order = tuple[int, str, str]
#: The most known files of one peer.
MOST_FILES = 20_000
#: The most names of deleted files of one writer.
_MOST_GONE = 10_000


@dataclass(slots=True)
class _CataloguedFile:
    file: DriveFile
    order: Order
    #: This process writes the file, so it knows every change of it.
    ours: bool
    #: A caller read the file since the last poll, so the next poll checks it for changes.
    wanted: bool = False


class Catalogue:
    """The known files of all participants. Thread-safe.

    Args:
        me: the email of this participant. Of its own files, the catalogue knows all copies, not only the latest.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._lock = threading.Lock()
        self._copies: dict[str, dict[str, DriveFile]] = {}
        self._by_name: dict[str, _CataloguedFile] = {}
        self._names: dict[str, str] = {}
        #: The names of the files of each peer that this process does not write, the most recently used last.
        self._used: dict[str, OrderedDict[str, None]] = {}
        #: Names of deleted files by writer, the most recent last.
        self._gone: dict[str, dict[str, None]] = {}

    def get(self, name: str, *, want: bool = False) -> DriveFile | None:
        """Return the file of a name, None if it is not known; with ``want``, let the next poll check it for changes."""
        with self._lock:
            known = self._by_name.get(name)
            if known is None:
                return None
            known.wanted = known.wanted or want
            used = self._used.get(known.file.owner)
            if want and used and name in used:
                used.move_to_end(name)
            return known.file

    def below(self, prefix: str) -> list[DriveFile]:
        """Return the files with names that begin with ``prefix``."""
        with self._lock:
            return [known.file for name, known in self._by_name.items() if name.startswith(prefix)]

    def add(self, file: DriveFile, position: int, *, ours: bool) -> bool:
        """Record a file; return whether it is the new file of its name."""
        order = (position, file.created, file.id)
        with self._lock:
            if file.owner == self._me:
                self._copies.setdefault(file.name, {})[file.id] = file
            known = self._by_name.get(file.name)
            if known is None or known.order < order:
                if known:
                    self._forget(file.name)
                self._by_name[file.name] = _CataloguedFile(file, order, ours)
                self._gone.get(writer_of(file.name), {}).pop(file.name, None)
                self._names[file.id] = file.name
                if not ours and file.owner != self._me:
                    self._bound(file.owner, file.name)
                return True
            return False

    def _bound(self, owner: str, name: str) -> None:
        """Count a new file of a peer, and forget the one that was not used for the longest time if it has too many."""
        used = self._used.setdefault(owner, OrderedDict())
        used[name] = None
        if len(used) > MOST_FILES:
            self._forget(next(iter(used)))

    def _forget(self, name: str) -> None:
        known = self._by_name.pop(name)
        self._names.pop(known.file.id, None)
        if used := self._used.get(known.file.owner):
            used.pop(name, None)

    def renew(self, file: DriveFile) -> str | None:
        """Record the present metadata of a known file; return its name if its content or name changed, None otherwise."""
        with self._lock:
            name = self._names.get(file.id)
            if name is None:
                return None
            known = self._by_name[name]
            changed = (known.file.md5, known.file.size) != (file.md5, file.size)
            # A renamed file is dropped, because only its first name was checked.
            if file.name != name:
                self._forget(name)
                return name
            known.file = file
            if file.owner == self._me:
                self._copies[name][file.id] = file
            return name if changed else None

    def drop(self, file_id: str) -> str | None:
        """Remove a file that was deleted; return its name, or None if it was not known."""
        with self._lock:
            name = self._names.get(file_id)
            if name is not None:
                self._forget(name)
                self._copies.get(name, {}).pop(file_id, None)
                gone = self._gone.setdefault(writer_of(name), {})
                gone[name] = None
                if len(gone) > _MOST_GONE:
                    del gone[next(iter(gone))]
            return name

    def went(self, name: str) -> bool:
        """Return whether the file existed and was deleted. A caller then does not wait for it."""
        with self._lock:
            return name in self._gone.get(writer_of(name), {})

    def drop_copies(self, name: str) -> list[DriveFile]:
        """Remove this participant's files of a name; return them."""
        with self._lock:
            copies = self._copies.pop(name, {})
            for file_id in copies:
                if self._names.pop(file_id, None):
                    self._by_name.pop(name, None)
            return list(copies.values())

    def drop_copy(self, file: DriveFile) -> None:
        """Remove one of this participant's files of a name; keep the others."""
        with self._lock:
            self._copies.get(file.name, {}).pop(file.id, None)
            if self._names.pop(file.id, None) is not None:
                del self._by_name[file.name]

    def copies(self, name: str) -> list[DriveFile]:
        """Return this participant's files of a name."""
        with self._lock:
            return list(self._copies.get(name, {}).values())

    def take_wanted(self, at_most: int) -> list[DriveFile]:
        """Return files that callers read since the last calls, without those that this process writes.

        Each owner in turn gets a place. The files without one are wanted at the next call, too.
        """
        with self._lock:
            wanted = [known for known in self._by_name.values() if known.wanted and not known.ours]
            taken = list(islice(in_turn(wanted, lambda known: known.file.owner), at_most))
            for known in taken:
                known.wanted = False
            return [known.file for known in taken]

    def of_others(self, owners: Collection[str], most: int) -> list[DriveFile]:
        """Return the files of these owners that this process does not write.

        Of each peer, these are at most ``most`` files, the wanted ones first.
        """
        found: list[DriveFile] = []
        for owner, theirs in sorted(self._by_owner(owners).items()):
            theirs.sort(key=lambda known: not known.wanted)
            found += [known.file for known in (theirs if owner == self._me else theirs[:most])]
        return found

    def one_of_others(self, owners: Collection[str], turn: int) -> DriveFile | None:
        """Return one of these files, another one for each ``turn``: of each owner in turn; None if there is none."""
        found = sorted(self._by_owner(owners).items())
        if not found:
            return None
        later, place = divmod(turn, len(found))
        theirs = found[place][1]
        return theirs[later % len(theirs)].file

    def _by_owner(self, owners: Collection[str]) -> dict[str, list[_CataloguedFile]]:
        found: dict[str, list[_CataloguedFile]] = {}
        with self._lock:
            for known in self._by_name.values():
                if known.file.owner in owners and not known.ours:
                    found.setdefault(known.file.owner, []).append(known)
        return found
