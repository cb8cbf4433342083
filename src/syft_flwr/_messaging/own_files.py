"""Deletes this participant's own files in the shared storage, and finds files that a crash left."""

from collections.abc import Collection, Iterator

from loguru import logger

from syft_flwr.errors import TransportError
from syft_flwr.names import AppNames, is_answer_object
from syft_flwr.transport.base import Entry, Transport


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
        if object_id := names.parse_object(me, entry.name):
            yield object_id, entry
