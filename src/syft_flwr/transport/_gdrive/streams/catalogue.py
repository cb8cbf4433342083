"""The catalogue of known files by name, as of the last poll. The transport answers calls from it."""

import threading
from collections.abc import Collection
from dataclasses import dataclass

from syft_flwr.transport._gdrive.api.drive_file import DriveFile

#: The order of files with the same name: position, creation time, id. A peer can delete a file and write its name again.
Order = tuple[int, str, str]
_MAX_GONE = 10_000


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
        #: Names of deleted files, the most recent last.
        self._gone: dict[str, None] = {}

    def get(self, name: str, *, want: bool = False) -> DriveFile | None:
        """Return the file of a name, None if it is not known; with ``want``, let the next poll check it for changes."""
        with self._lock:
            known = self._by_name.get(name)
            if known is None:
                return None
            known.wanted = known.wanted or want
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
                    self._names.pop(known.file.id, None)
                self._by_name[file.name] = _CataloguedFile(file, order, ours)
                self._gone.pop(file.name, None)
                self._names[file.id] = file.name
                return True
            return False

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
                del self._by_name[name], self._names[file.id]
                return name
            known.file = file
            if file.owner == self._me:
                self._copies[name][file.id] = file
            return name if changed else None

    def drop(self, file_id: str) -> str | None:
        """Remove a file that was deleted; return its name, or None if it was not known."""
        with self._lock:
            name = self._names.pop(file_id, None)
            if name is not None:
                del self._by_name[name]
                self._copies.get(name, {}).pop(file_id, None)
                self._gone[name] = None
                if len(self._gone) > _MAX_GONE:
                    del self._gone[next(iter(self._gone))]
            return name

    def went(self, name: str) -> bool:
        """Return whether the file existed and was deleted. A caller then does not wait for it."""
        with self._lock:
            return name in self._gone

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
        """Return the files that callers read since the last call, without the files that this process writes."""
        with self._lock:
            wanted = [known for known in self._by_name.values() if known.wanted and not known.ours][:at_most]
            for known in wanted:
                known.wanted = False
            return [known.file for known in wanted]

    def of_others(self, owners: Collection[str]) -> list[DriveFile]:
        """Return the files of these owners that this process does not write."""
        with self._lock:
            return [known.file for known in self._by_name.values() if known.file.owner in owners and not known.ours]
