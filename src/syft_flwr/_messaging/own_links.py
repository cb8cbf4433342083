"""Keeps a second name of each own object, and writes the object again if another program deleted it.

A sync service can delete a file that its writer did not delete. The second name is made right after the object is
written, before the message that refers to it is recorded. It stays until the message is withdrawn.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from syft_flwr import files
from syft_flwr._messaging.deleted_names import DeletedNames
from syft_flwr._messaging.link_folder import LinkFolder
from syft_flwr._messaging.own_files import discard, discard_again, files_of_object
from syft_flwr._messaging.put_back import PutBack
from syft_flwr._messaging.wire.limits import MAX_OBJECT_FILES, MAX_OBJECTS
from syft_flwr.clock import Clock
from syft_flwr.errors import StorageError, TransportError
from syft_flwr.log import logger
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.names import MAX_ATTEMPTS, AppNames, is_answer_object
from syft_flwr.transport.base import Entry, Transport

#: Bytes that one scan writes again. The next scan continues, so that a scan does not hold its lock for minutes.
_AT_ONCE = 256 << 20


class OwnLinks:
    """The second names of the objects of this participant in one app. Thread-safe.

    The aggregator, the client and the worker of one participant use the same folder, each for its own objects.
    """

    def __init__(self, transport: Transport, names: AppNames, me: str, folder: LinkFolder, clock: Clock) -> None:
        self._transport = transport
        self._names = names
        self._me = me
        self._folder = folder
        self._lock = threading.Lock()
        #: The last parts of the known names of each object.
        self._leaves: dict[str, set[str]] = {}
        #: The ids of deleted objects. A late transfer can bring them back.
        self._deleted = DeletedNames(MAX_OBJECTS)
        self._put_back = PutBack(clock)
        self._logged = LogOnce()

    def names_of(self, object_id: str) -> list[str]:
        """Return the names that the object can have in the shared folder."""
        with self._lock:
            leaves = sorted(self._leaves.get(object_id, ()))
        if leaves:
            return [self._name(leaf) for leaf in leaves]
        return [self._names.object(self._me, object_id, pushed=pushed) for pushed in (False, True)]

    def _name(self, leaf: str) -> str:
        return self._names.object_at(self._me, leaf)

    def _id(self, leaf: str) -> str | None:
        parsed = self._names.parse_object(self._me, self._name(leaf))
        return parsed.id if parsed else None

    def add(self, name: str) -> None:
        """Give an own object a second name, right after it was written.

        Raises:
            NotFoundError: another program has deleted the file already.
            TransportError, StorageError: the second name cannot be made.
        """
        leaf = name.rpartition("/")[2]
        self._folder.add(self._transport, name, leaf, max_size=self._transport.properties.max_file_size)
        with self._lock:
            self._leaves.setdefault(leaf.partition(".")[0], set()).add(leaf)

    def delete(self, ids: Collection[str]) -> None:
        """Delete objects under all their names."""
        ids = frozenset(ids)
        for object_id in ids:
            for name in self._existing_names(object_id):
                discard(self._transport, name)
                self._put_back.forget(name)
            with self._lock:
                self._leaves.pop(object_id, None)
            self._deleted.add(object_id)
        # A second name can be that of an attempt of another process, and outlive its file.
        for leaf in [leaf for leaf in self._folder.leaves() if leaf.partition(".")[0] in ids]:
            self._remove(leaf)

    def delete_orphans(self, names: Iterable[str]) -> None:
        """Delete the files of objects that no message needs: an earlier process left them."""
        for name in names:
            discard(self._transport, name)
            if object_id := self._id(name.rpartition("/")[2]):
                self._deleted.add(object_id)

    def _existing_names(self, object_id: str) -> set[str]:
        """Return the known names of an object, and those of later attempts of another process."""
        names = self.names_of(object_id)
        with self._lock:
            if object_id in self._leaves:
                return set(names)
        try:
            return {*names, *(entry.name for entry in self._files(object_id))}
        except TransportError as error:
            text = "later attempts of object {} may stay in the folder; a later run or `syft-flwr gc` deletes them: {}"
            self._logged.warning(OURSELVES, object_id, text, object_id, error.diagnose())
            return set(names)

    def _files(self, object_id: str) -> list[Entry]:
        return files_of_object(self._transport, self._names, self._me, object_id)

    def put_again(self, object_id: str, readers: Collection[str]) -> str:
        """Write the bytes of an object again, as a later attempt, because the sync service gave up its file.

        The name is not a pushed one: the sync service confirms a file of its scan, and does not confirm a push. The
        caller holds the lock under which objects of withdrawn messages are deleted.

        Returns:
            The name of the new file; an empty string if the object has no file or no further attempt.
        """
        entries = self._files(object_id)
        parsed = [self._names.parse_object(self._me, entry.name) for entry in entries]
        attempt = 1 + max((found.attempt for found in parsed if found), default=MAX_ATTEMPTS)
        if attempt >= MAX_ATTEMPTS:
            return ""
        name = self._names.object(self._me, object_id, attempt=attempt)
        with self._transport.open(entries[0].name, max_size=entries[0].size) as file:
            self._transport.put(name, files.chunks_of(file), readers=readers)
        with self._lock:
            written = (*(entry.name for entry in entries), name)
            self._leaves.setdefault(object_id, set()).update(found.rpartition("/")[2] for found in written)
        return name

    def _remove(self, leaf: str) -> None:
        try:
            self._folder.remove(leaf)
        except StorageError as error:
            text = "the second name {} could not be removed, and `syft-flwr gc` removes it later: {}"
            self._logged.warning(OURSELVES, leaf, text, leaf, error.diagnose())

    def put_back(self, needed: Collection[str], readers: Collection[str]) -> None:
        """Write the objects in ``needed`` again that another program deleted, and delete those that came back.

        The caller holds the lock under which objects of withdrawn messages are deleted.
        """
        if not needed and not self._deleted:
            return
        try:
            here = self._listed()
        except TransportError as error:
            text = "the own objects of {} cannot be listed now, and are listed again at the next scan: {}"
            self._logged.warning(OURSELVES, type(error), text, self._names.app, error.diagnose())
            return
        for object_id in [found for found in here if found in self._deleted and found not in needed]:
            for leaf in here[object_id]:
                discard_again(self._transport, self._name(leaf), self._logged)
        second = self._second_names()
        self._remember({object_id: here[object_id] for object_id in needed if object_id in here})
        for object_id in needed:
            if object_id in here and object_id not in second:
                # Lost in a power cut, or deleted by a person.
                self._add_again(here[object_id][0])
        self._restore({i: second[i] for i in needed if i in second and i not in here}, readers)
        for object_id in needed:
            if object_id not in here and object_id not in second:
                text = "object {} of an open message is gone, also under its second name; it cannot be written again"
                self._logged.warning(OURSELVES, object_id, text, object_id)

    def _listed(self) -> dict[str, list[str]]:
        """Return the last parts of the names of all own objects in the shared folder, by id."""
        here: dict[str, list[str]] = {}
        for entry in islice(self._transport.list(self._names.objects(self._me)), MAX_OBJECT_FILES):
            if found := self._names.parse_object(self._me, entry.name):
                here.setdefault(found.id, []).append(entry.name.rpartition("/")[2])
        return here

    def _remember(self, here: Mapping[str, list[str]]) -> None:
        """Remember the names that other processes wrote, such as the worker, so that a deletion finds all."""
        with self._lock:
            for object_id, leaves in here.items():
                self._leaves.setdefault(object_id, set()).update(leaves)

    def _second_names(self) -> dict[str, tuple[str, int]]:
        """Return the second name and the size of each object, by id."""
        found = ((self._id(leaf), leaf, size) for leaf, size in sorted(self._folder.sizes().items()))
        return {object_id: (leaf, size) for object_id, leaf, size in found if object_id}

    def _add_again(self, leaf: str) -> None:
        try:
            self.add(self._name(leaf))
        except (TransportError, StorageError) as error:
            text = "{} gets no second name now; if another program deletes it, it is lost: {}"
            self._logged.warning(OURSELVES, leaf, text, leaf, error.diagnose())

    def _restore(self, missing: Mapping[str, tuple[str, int]], readers: Collection[str]) -> None:
        left = _AT_ONCE
        for leaf, size in missing.values():
            name = self._name(leaf)
            if left <= 0:
                return
            if not self._put_back.due(name):
                continue
            left -= size
            try:
                with self._folder.open(leaf, max_size=size) as file:
                    self._transport.put(name, files.chunks_of(file), readers=readers)
            except (TransportError, StorageError) as error:
                text = "{} was deleted by another program; it cannot be written now, and is tried again: {}"
                self._logged.warning(OURSELVES, f"{name} {type(error)}", text, name, error.diagnose())
                continue
            self._put_back.done(name)
            logger.info("{} was deleted by another program; it is written again, and no action is needed", name)
            # The second name becomes a link to the new file, so that the bytes are on the disk once.
            self._add_again(leaf)

    def drop(self, *, answers: bool, kept: Collection[str]) -> None:
        """Remove the second names that a crash left: of objects of replies or of requests, except ``kept``."""
        for leaf, _ in self.unneeded(answers=answers, kept=kept):
            self._remove(leaf)

    def unneeded(self, *, answers: bool, kept: Collection[str]) -> list[tuple[str, int]]:
        """Return the second names that :meth:`drop` removes, with their sizes."""
        return [
            (leaf, size)
            for leaf, size in sorted(self._folder.sizes().items())
            if (object_id := self._id(leaf)) and is_answer_object(object_id) == answers and object_id not in kept
        ]
