"""This participant's own files in the shared storage: deletes them, and finds those that a crash left."""

from collections.abc import Collection, Iterator

from loguru import logger

from syft_flwr.errors import TransportError
from syft_flwr.names import AppNames, is_answer_object
from syft_flwr.transport.base import Entry, Transport


def discard(transport: Transport, name: str) -> None:
    """Delete a file of ours; one that cannot be deleted is left, said in the log, and holds up nothing."""
    try:
        transport.delete(name)
    except TransportError as error:
        logger.warning("{} is left behind: {}", name, error)


def request_objects(transport: Transport, names: AppNames, me: str, *, kept: Collection[str] = ()) -> Iterator[Entry]:
    """Iterate over objects that we wrote as aggregator and that no request in need of them (ids in ``kept``) refers to."""
    for object_id, entry in _objects(transport, names, me):
        if not is_answer_object(object_id) and object_id not in kept:
            yield entry


def answer_objects(transport: Transport, names: AppNames, me: str, *, kept: Collection[str]) -> Iterator[Entry]:
    """Iterate over objects that we wrote as data owner and that no answer in ``kept`` (ids) refers to."""
    for object_id, entry in _objects(transport, names, me):
        if is_answer_object(object_id) and object_id not in kept:
            yield entry


def _objects(transport: Transport, names: AppNames, me: str) -> Iterator[tuple[str, Entry]]:
    for entry in transport.list(names.objects(me)):
        if object_id := names.parse_object(me, entry.name):
            yield object_id, entry
