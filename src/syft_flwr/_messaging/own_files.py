"""Deletes this participant's own files in the shared storage, and finds files that a crash left."""

import contextlib
from collections.abc import Collection, Iterator
from itertools import islice

from loguru import logger

from syft_flwr._messaging.wire.limits import MAX_OBJECTS
from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.names import MAX_ATTEMPTS, AppNames, is_answer_object
from syft_flwr.transport.base import Entry, Transport

#: Files of a shard that one look reads. An object can have several names.
_MOST_LISTED = 4 * MAX_OBJECTS


def discard(transport: Transport, name: str) -> None:
    """Delete a file of this participant. If that fails, log a warning and leave the file."""
    try:
        transport.delete(name)
    except TransportError as error:
        text = (
            "{} could not be deleted and stays in the folder; the run is not affected, "
            "and a later run or `syft-flwr gc` deletes it: {}"
        )
        logger.warning(text, name, error.diagnose())


def files_of_object(transport: Transport, names: AppNames, owner: str, object_id: str) -> list[Entry]:
    """Return the files of one object that exist: the first one and the later attempts."""
    shard = names.object(owner, object_id).rpartition("/")[0]
    listed = islice(transport.list(f"{shard}/"), _MOST_LISTED)
    found = ((names.parse_object(owner, entry.name), entry) for entry in listed)
    entries = [entry for parsed, entry in found if parsed and parsed.id == object_id]
    # The folder of the pushed objects has no shards, so it is too large for a listing.
    for attempt in range(MAX_ATTEMPTS):
        with contextlib.suppress(NotFoundError):
            entries.append(transport.stat(names.object(owner, object_id, attempt=attempt, pushed=True)))
    return entries


def request_objects(transport: Transport, names: AppNames, me: str, *, kept: Collection[str] = ()) -> Iterator[Entry]:
    """Yield the objects that this participant wrote as aggregator, except those with ids in ``kept``.

    ``kept`` has the ids of the objects that a request still needs.
    """
    for object_id, entry in _objects(transport, names, me):
        if not is_answer_object(object_id) and object_id not in kept:
            yield entry


def answer_objects(transport: Transport, names: AppNames, me: str, *, kept: Collection[str]) -> Iterator[Entry]:
    """Yield the objects that this participant wrote as data owner, except those with ids in ``kept``.

    ``kept`` has the ids of the objects that a reply still needs.
    """
    for object_id, entry in _objects(transport, names, me):
        if is_answer_object(object_id) and object_id not in kept:
            yield entry


def _objects(transport: Transport, names: AppNames, me: str) -> Iterator[tuple[str, Entry]]:
    for entry in transport.list(names.objects(me)):
        if found := names.parse_object(me, entry.name):
            yield found.id, entry
