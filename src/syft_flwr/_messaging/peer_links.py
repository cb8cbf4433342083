"""Keeps what arrived: each object of a peer gets a second name when it arrives, and is read under that name.

A sync service can delete an arrived file and bring it back seconds later. With the second name, that costs nothing. All
second names of one peer are bounded in number and bytes, because the peer decides how many objects it writes. They also
leave the reserve of the transport free, and each other peer its share of the disk.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from syft_flwr._crypto.segments import sealed_size
from syft_flwr._messaging.link_folder import LinkFolder
from syft_flwr._messaging.own_files import files_of_object
from syft_flwr._messaging.wire.limits import MAX_MESSAGE, MAX_OBJECT, MAX_OBJECT_FILES, MAX_OBJECTS
from syft_flwr.clock import Clock
from syft_flwr.errors import NotFoundError, StorageError, TransportError
from syft_flwr.log_once import LogOnce
from syft_flwr.names import AppNames, is_answer_object, is_object_id, run_of
from syft_flwr.transport.base import Entry, Transport

#: Seconds from the deletion of a file until the second name goes, if no message needs it.
_KEPT_AFTER_DELETION = 600.0
_LARGEST = sealed_size(MAX_OBJECT)
#: Looks share a thread, and a peer decides how many files it has. One with more files or a longer look than this waits
#: for its turn.
_MOST_AT_ONCE = 1_000
_LONG = 0.05


class PeerLinks:
    """The second names of the objects of one peer in one app. Thread-safe.

    ``has_space`` returns whether the disk has room for so many further bytes of this peer. :meth:`follow` starts to link
    arriving objects. Without it, such as in a worker, the second names are only read.
    """

    def __init__(
        self,
        transport: Transport,
        names: AppNames,
        owner: str,
        folder: LinkFolder,
        clock: Clock,
        has_space: Callable[[str, int], bool],
    ) -> None:
        self._has_space = has_space
        self._transport = transport
        self._names = names
        self._owner = owner
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        #: Whether objects of replies are followed (True) or of requests (False); None before :meth:`follow`.
        self._answers: bool | None = None
        #: The sizes of the files with a second name, by object id, and their sum.
        self._sizes: dict[str, int] = {}
        self._total = 0
        #: A name of each object in the shared folder.
        self._seen: dict[str, str] = {}
        #: The objects that each open message needs, by message id.
        self._needed: dict[str, frozenset[str]] = {}
        #: Objects of closed messages whose files still exist. They get no second name until a message needs them.
        self._released: set[str] = set()
        #: Objects of an interrupted run. The resumed run may need them, however long it takes to ask.
        self._inherited: frozenset[str] = frozenset()
        #: The runs that have ended in this process.
        self._over: set[int] = set()
        #: The monotonic time at which the file of an object was first found missing.
        self._gone: dict[str, float] = {}
        #: Whether a look had too many files or took too long, at any time.
        self.is_large = False
        #: Since the last look, an object of so many bytes found no room. A test costs time for each peer.
        self._too_large = math.inf
        self._logged = LogOnce()

    def follow(self, *, answers: bool, run: int | None = None) -> None:
        """Start to link the arriving objects, and load the second names of earlier processes.

        Args:
            answers: link the objects of replies; otherwise those of requests.
            run: remove the second names of other runs, and keep those of this run until :meth:`clear`.
        """
        with self._lock:
            self._answers = answers
            self._load(answers)
            if run is None:
                return
            for object_id in [found for found in self._sizes if run_of(found) != run]:
                self._remove(object_id)
            self._inherited = frozenset(self._sizes)

    def _load(self, answers: bool) -> None:
        found = self._folder.sizes()
        self._sizes = {
            leaf: size for leaf, size in found.items() if is_object_id(leaf) and is_answer_object(leaf) == answers
        }
        self._total = sum(self._sizes.values())

    def end_run(self, run: int) -> None:
        """Remove the second names of the objects of a run that is over, and link no further ones."""
        with self._lock:
            self._over.add(run)
            for object_id in [found for found in self._sizes if run_of(found) == run]:
                self._remove(object_id)

    @property
    def total(self) -> int | None:
        """Return the bytes of all second names; None before :meth:`follow`."""
        return None if self._answers is None else self._total

    @property
    def has_any(self) -> bool:
        """Return whether an object has a second name."""
        return bool(self._sizes)

    def note(self, changed: Iterable[str]) -> None:
        """Link the objects among these changed files."""
        for name in changed:
            if self._answers is not None and (object_id := self._id(name)):
                self._take(object_id, name)

    def _id(self, name: str) -> str | None:
        parsed = self._names.parse_object(self._owner, name)
        return parsed.id if parsed and is_answer_object(parsed.id) == self._answers else None

    def look(self) -> None:
        """Link the objects that no event announced, and remove the second names that are not needed any more.

        As long as the peer is not large, this looks at few files.
        """
        if self._answers is None:
            return
        began = self._clock.monotonic()
        ended_early = self._look(MAX_OBJECT_FILES if self.is_large else _MOST_AT_ONCE, answers=self._answers)
        self.is_large |= ended_early or self._clock.monotonic() - began > _LONG

    def _look(self, most: int, *, answers: bool) -> bool:
        """Look at ``most`` files; return whether these may not be all."""
        try:
            listed = list(islice(self._transport.list(self._names.objects(self._owner)), most))
        except TransportError as error:
            text = "the objects of {} cannot be listed now, and are listed again at the next scan: {}"
            self._logged.warning(self._owner, type(error), text, self._owner, error.diagnose())
            return False
        found: dict[str, Entry] = {}
        for entry in listed:
            if object_id := self._id(entry.name):
                found.setdefault(object_id, entry)
        here = {object_id: entry.name for object_id, entry in found.items()}
        self._too_large = math.inf
        ended_early = len(listed) >= most
        with self._lock:
            # A worker removes second names with wrong bytes.
            self._load(answers)
            if most == MAX_OBJECT_FILES or not ended_early:
                self._seen = dict(here)
                self._released &= here.keys()
        for object_id, entry in found.items():
            # The size is known: a peer can have very many objects for which there is no room.
            self._take(object_id, entry.name, entry.size)
        if not ended_early:
            self._expire(here)
        return ended_early

    def _take(self, object_id: str, name: str, size: int | None = None) -> None:
        """Give an object a second name, if its file exists and the object may be needed. ``size`` is from a listing."""
        with self._lock:
            if object_id in self._sizes or len(self._seen) >= MAX_OBJECT_FILES:
                return
            released = object_id in self._released and not self._is_needed(object_id)
            unwanted = released or run_of(object_id) in self._over
        try:
            size = self._transport.stat(name).size if size is None else size
            with self._lock:
                self._seen[object_id] = name
            if not unwanted and self._has_room(size):
                linked = self._folder.add(self._transport, name, object_id, max_size=_LARGEST)
                with self._lock:
                    self._sizes[object_id] = linked
                    self._total += linked
        except NotFoundError:
            with self._lock:
                self._seen.pop(object_id, None)
        except (TransportError, StorageError) as error:
            text = "{} gets no second name here, and is read in its folder; if it is deleted there, it is awaited again: {}"
            self._logged.warning(self._owner, f"{self._owner} {type(error)}", text, name, error.diagnose())

    def _has_room(self, size: int) -> bool:
        if size >= self._too_large:
            return False
        fits = len(self._sizes) < MAX_OBJECTS and self._total + size <= MAX_MESSAGE
        # The bytes stay on the disk when the peer deletes its file.
        if fits and self._has_space(self._owner, size):
            return True
        text = (
            "further objects of {} get no second name here, because of their number, their size or its share of the disk; "
            "they are read in their folder, and no action is needed"
        )
        self._logged.warning(self._owner, "room", text, self._owner)
        self._too_large = size
        return False

    def _expire(self, here: Mapping[str, str]) -> None:
        now = self._clock.monotonic()
        # On a full disk, bytes that nothing may need go at once.
        full = self._transport.free_space() < self._transport.properties.reserve
        kept_for = 0.0 if full else _KEPT_AFTER_DELETION
        with self._lock:
            needed = self._inherited.union(here, *self._needed.values())
            self._gone = {found: self._gone.get(found, now) for found in self._sizes if found not in needed}
            for object_id in [found for found, since in self._gone.items() if now - since >= kept_for]:
                self._remove(object_id)

    def need(self, message_id: str, objects: Iterable[str]) -> None:
        """Keep the objects of a message until :meth:`release`."""
        wanted = frozenset(objects)
        with self._lock:
            self._needed[message_id] = wanted
            again = [(found, self._seen[found]) for found in wanted & self._released if found in self._seen]
        for object_id, name in again:
            self._take(object_id, name)

    def release(self, message_id: str) -> None:
        """Remove the second names that only this message needed."""
        with self._lock:
            for object_id in self._needed.pop(message_id, frozenset()):
                if not self._is_needed(object_id):
                    self._remove(object_id)
                    self._released.add(object_id)

    def _is_needed(self, object_id: str) -> bool:
        return any(object_id in objects for objects in self._needed.values())

    def clear(self) -> None:
        """Remove all second names of the followed kind, because the run has ended."""
        with self._lock:
            if self._answers is not None:
                self._load(self._answers)
                for object_id in list(self._sizes):
                    self._remove(object_id)
            self._needed.clear()
            self._inherited = frozenset()

    def _remove(self, object_id: str) -> None:
        self._total -= self._sizes.pop(object_id, 0)
        self._too_large = math.inf
        try:
            self._folder.remove(object_id)
        except StorageError as error:
            text = "the second name {} could not be removed, and `syft-flwr gc` removes it later: {}"
            self._logged.warning(self._owner, object_id, text, object_id, error.diagnose())

    def names_of(self, object_id: str) -> list[str]:
        """Return the names under which the object may be in the shared folder, the known name or all."""
        with self._lock:
            known, following = self._seen.get(object_id), self._answers is not None
        if known:
            return [known]
        return [] if following else self._search(object_id)

    def _search(self, object_id: str) -> list[str]:
        return [entry.name for entry in files_of_object(self._transport, self._names, self._owner, object_id)]

    def has(self, object_id: str, size: int) -> bool:
        """Return whether the object has a second name. One with another size is removed: its bytes cannot be right."""
        found = self._sizes.get(object_id) if self._answers is not None else self._folder.size(object_id)
        if found is not None and found != size:
            self.drop(object_id)
            return False
        return found is not None

    def open(self, object_id: str, *, max_size: int) -> BinaryIO:
        """Open the object under its second name; raise NotFoundError or TooLargeError like a transport."""
        return self._folder.open(object_id, max_size=max_size)

    def keep(self, object_id: str, path: Path, *, max_size: int) -> None:
        """Link or copy the object to ``path``; raise NotFoundError or TooLargeError like a transport."""
        self._folder.keep(object_id, path, max_size=max_size)

    def drop(self, object_id: str) -> bool:
        """Remove a second name with wrong bytes; return whether it existed, so that the folder can be read instead."""
        existed = self._folder.size(object_id) is not None
        with self._lock:
            self._remove(object_id)
        return existed
