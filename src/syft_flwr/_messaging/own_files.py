"""Deletes this participant's own files in the shared storage, and finds files that a crash left."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from syft_flwr._messaging.wire.limits import MAX_LISTED, MAX_OBJECT_FILES
from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.log import logger
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.names import MAX_ATTEMPTS, AppNames, is_answer_object, is_pushed
from syft_flwr.transport.base import Entry, Transport


def is_there(transport: Transport, name: str) -> bool | None:
    """Return whether a file exists; None if that is not known now."""
    try:
        transport.stat(name)
    except NotFoundError:
        return False
    except TransportError:
        return None
    return True


def discard(transport: Transport, name: str) -> None:
    """Delete a file of this participant. If that fails, log a warning and leave the file."""
    try:
        transport.delete(name)
    except TransportError as error:
        text = (
            "{} could not be deleted and stays in the folder; the run is not affected, "
            "and a later scan, a later run or `syft-flwr gc` deletes it: {}"
        )
        logger.warning(text, name, error.diagnose())


def discard_again(transport: Transport, name: str, logged: LogOnce) -> None:
    """Delete a file of this participant that came back. The next scan does the same, so a failure is logged once."""
    try:
        transport.delete(name)
    except TransportError as error:
        text = (
            "{} came back after its deletion, and cannot be deleted now; each scan tries again, "
            "and the run is not affected: {}"
        )
        logged.warning(OURSELVES, name, text, name, error.diagnose())


def restore_permissions(transport: Transport, logged: LogOnce) -> None:
    """Give the peers the access again that another program deleted. The next scan does the same if that fails."""
    try:
        transport.restore_permissions()
    except TransportError as error:
        text = "the permissions in this datasite cannot be checked now, and are checked again at the next scan: {}"
        logged.warning(OURSELVES, type(error).__name__, text, error.diagnose())


def files_of_object(transport: Transport, names: AppNames, owner: str, object_id: str) -> list[Entry]:
    """Return the files of one object that exist: the first one and the later attempts."""
    shard = names.object(owner, object_id).rpartition("/")[0]
    listed = islice(transport.list(f"{shard}/"), MAX_OBJECT_FILES)
    found = ((names.parse_object(owner, entry.name), entry) for entry in listed)
    entries = [entry for parsed, entry in found if parsed and parsed.id == object_id and not is_pushed(entry.name)]
    # The folder of the pushed objects has no shards, so it is too large for a listing.
    for attempt in range(MAX_ATTEMPTS):
        with contextlib.suppress(NotFoundError):
            entries.append(transport.stat(names.object(owner, object_id, attempt=attempt, pushed=True)))
    return entries


def messages_in(transport: Transport, folder: str, parse: Callable[[str], tuple[str, str] | None]) -> dict[str, Entry]:
    """Return the files of one kind of messages in a folder of an inbox, by the id of the message.

    ``parse`` returns the parts of a name, see :meth:`AppNames.parse_request`.
    """
    entries = islice(transport.list(folder), MAX_LISTED)
    return {parsed[1]: entry for entry in entries if (parsed := parse(entry.name))}


#: The id of an object, and one of its files.
ObjectFile = tuple[str, Entry]


def request_objects(
    transport: Transport, names: AppNames, me: str, *, kept: Collection[str] = ()
) -> Iterator[ObjectFile]:
    """Yield the files with the names of objects of requests of this participant, except those with ids in ``kept``.

    ``kept`` has the ids of the objects that a request still needs. Another program can have written a file.
    """
    objects = _objects(transport, names, me)
    return (found for found in objects if not is_answer_object(found[0]) and found[0] not in kept)


def answer_objects(transport: Transport, names: AppNames, me: str, *, kept: Collection[str]) -> Iterator[ObjectFile]:
    """Yield the files with the names of objects of replies of this participant, except those with ids in ``kept``.

    ``kept`` has the ids of the objects that a reply still needs. Another program can have written a file.
    """
    objects = _objects(transport, names, me)
    return (found for found in objects if is_answer_object(found[0]) and found[0] not in kept)


def _objects(transport: Transport, names: AppNames, me: str) -> Iterator[ObjectFile]:
    for entry in transport.list(names.objects(me)):
        if found := names.parse_object(me, entry.name):
            yield found.id, entry
