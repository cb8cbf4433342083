"""The files of requests in the shared storage: written, put back if the sync service deleted them, and deleted.

A request is in the futures database before its file is written, so the file can be put back byte for byte.
"""

import threading
from collections.abc import Collection
from functools import partial

from syft_flwr._messaging.asking.pending import Pending, Stage
from syft_flwr._messaging.conflict_copies import ConflictCopies
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.own_files import is_there, messages_in
from syft_flwr._messaging.put_back import PutBack
from syft_flwr._messaging.strays import Strays
from syft_flwr._store.futures import Futures
from syft_flwr.errors import TransportError
from syft_flwr.log import logger
from syft_flwr.log_once import LogOnce
from syft_flwr.transport.base import Entry


class RequestFiles:
    """Writes, restores and deletes the files of requests. Thread-safe."""

    def __init__(self, endpoint: Endpoint, futures: Futures, datasites: Collection[str]) -> None:
        self._transport = endpoint.transport
        names = endpoint.names
        self._me = endpoint.email
        self._futures = futures
        everyone = (self._me, *datasites)
        small = [*(names.messages_of(email, self._me) for email in datasites), *map(names.status, everyone)]
        self._copies = ConflictCopies(self._transport, endpoint.clock, small, [*map(names.objects, everyone)])
        self._strays = Strays(self._transport)
        self._put_back = PutBack(endpoint.clock)
        #: Held while a file is put back or deleted, so that no file is put back after its request was withdrawn.
        self._placing = threading.Lock()
        self._logged = LogOnce()

    def put(self, pending: Pending, request: bytes) -> None:
        """Write the file of a request; raise TransportError if that fails."""
        self._transport.put(pending.request_name, request, readers=[pending.asked.recipient])
        pending.placed = True

    def put_back_if_missing(self, pending: Pending) -> None:
        """Write the file of a sent request again if another program deleted it. If that fails, the next scan tries again.

        Raises:
            StoreError: the envelope cannot be read now.
        """
        name = pending.request_name
        if not pending.placed or pending.stage is not Stage.SENT or is_there(self._transport, name) is not False:
            return
        request = self._futures.request(pending.id) if self._put_back.due(name) else None
        with self._placing:
            if request is None or pending.stage is not Stage.SENT:
                return
            logger.debug("{} is missing, and is put back", name)
            try:
                self.put(pending, request)
            except TransportError as error:
                text = "{} is missing and cannot be put back now; it is tried again at each scan: {}"
                peer = pending.asked.recipient
                self._logged.warning(peer, f"{name} {type(error).__name__}", text, name, error.diagnose())
            else:
                self._put_back.done(name)

    def delete(self, name: str) -> None:
        """Delete the file of a request that has ended."""
        with self._placing:
            self._strays.discard(name)
        self._put_back.forget(name)

    def tidy(self) -> None:
        """Delete the files of requests that came back after their deletion, and the copies of the sync service."""
        self._strays.discard_again()
        self._copies.delete_some()

    def tidy_at_the_end(self) -> None:
        """Do the same for all names and folders, because no later scan of this process does it."""
        self._strays.discard_all_again()
        self._copies.delete_all()


def own_requests(endpoint: Endpoint, futures: Futures, datasite: str) -> dict[str, Entry]:
    """Return the files of requests in the inbox of a data owner that this aggregator wrote, by the id of the request."""
    folder = endpoint.names.messages_of(datasite, endpoint.email)
    found = messages_in(endpoint.transport, folder, partial(endpoint.names.parse_request, datasite))
    known = futures.known_among(found, datasite)
    own = known | endpoint.ownership.signed("request", datasite, found, known).keys()
    return {message_id: entry for message_id, entry in found.items() if message_id in own}
