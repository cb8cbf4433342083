"""Writes the heartbeat of an aggregator, and publishes in it which requests are withdrawn.

* Over every transport, the heartbeat shows the data owners that the aggregator is there. Where the absence of a file
  withdraws its request, it has no list, and is deleted at the end.
* The heartbeat of the aggregator is one file for all data owners. It lists the requests that a data owner still holds
  although no process waits for them, and the latest collected requests.
* The list derives from the futures database and the heartbeats of the data owners. So a new process, or
  ``syft-flwr gc``, publishes the same list again. A second statement about one request has no effect.
* A file with a list stays after the end of the process, because a data owner may read it later.
"""

import threading
import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.wire.limits import MAX_WITHDRAWN
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import Ended, Futures
from syft_flwr._store.states import Future
from syft_flwr.errors import StoreError
from syft_flwr.log import logger
from syft_flwr.log_once import OURSELVES, LogOnce

#: The most collected requests of one data owner that are listed although its heartbeat does not hold them. A fast run
#: collects this many between two heartbeats of a data owner.
_LATEST = 64
#: The most such requests of all data owners. Each write sends the list to all of them.
_LATEST_OF_ALL = 512
#: Seconds between two writes.
_PAUSE = 0.2


class AggregatorHeartbeat:
    """The heartbeat of an aggregator, with the list of withdrawn requests. Thread-safe.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        futures: the database of all requests.
        datasites: the emails of the data owners.
        liveness: the heartbeats of the data owners.
        lists: whether the heartbeat has the list, because the absence of a file is no statement.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        futures: Futures,
        datasites: Collection[str],
        liveness: Liveness,
        *,
        lists: bool = True,
    ) -> None:
        self._lists = lists
        self._futures = futures
        self._datasites = list(datasites)
        self._liveness = liveness
        self._pulse = Pulse(endpoint, "aggregator", datasites, rare=not lists)
        self._missing: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._logged = LogOnce()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{endpoint.names.app}", daemon=True)

    def start(self) -> None:
        """Publish the list, and start a thread that publishes it again after each change."""
        self.publish()
        self._thread.start()

    def note_change(self) -> None:
        """Publish the list soon, because requests were collected or a heartbeat arrived. Return at once."""
        self._changed.set()

    def note_missing(self, objects: tuple[str, ...]) -> None:
        """Name these objects of replies, which have not arrived, in the next heartbeat."""
        self._missing = objects

    def close(self) -> None:
        """Stop the thread, and publish the list a last time. The file stays if it has a list."""
        if not self._thread.is_alive():
            return
        self._stopping.set()
        self._changed.set()
        self._thread.join()
        if not self._lists:
            self._pulse.stop()
            return
        self._missing = ()
        self.publish_once()

    def publish_once(self) -> None:
        """Read the heartbeats of the data owners, then publish the list. No scanner may run."""
        for email in self._datasites:
            self._liveness.look(email)
        self.publish()

    def publish(self) -> None:
        """Write the list now, if it changed or the heartbeat interval has passed."""
        with self._lock:
            try:
                withdrawn = self._withdrawn() if self._lists else ()
            except StoreError as error:
                text = "the withdrawn requests cannot be published now, and are published at the next scan: {}"
                self._logged.error(OURSELVES, type(error).__name__, text, error.diagnose())
                return
            self._pulse.beat(withdrawn=withdrawn, missing=self._missing)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            self._changed.clear()
            try:
                self.publish()
            except Exception:  # noqa: BLE001 - the outermost loop of this thread
                text = "{}: the thread met an error and continues; report this as a bug\n{}"
                logger.error(text, self._thread.name, traceback.format_exc())
            # Many requests that are collected in a short time need only one write.
            self._stopping.wait(_PAUSE)

    def _withdrawn(self) -> tuple[str, ...]:
        held = [self._held(email) for email in self._datasites]
        most = min(_LATEST, max(1, _LATEST_OF_ALL // max(1, len(self._datasites))))
        latest = self._futures.latest_collected(self._datasites, most)
        # The held ones come first, and in turn, so that one data owner cannot fill the list.
        chosen = dict.fromkeys((*_in_turn(held), *_in_turn(latest.values())))
        return tuple(sorted(list(chosen)[:MAX_WITHDRAWN]))

    def _held(self, email: str) -> Sequence[str]:
        """Return the collected requests that a data owner holds."""
        heartbeat = self._liveness.latest(email)
        ids = (heartbeat.running, *heartbeat.waiting) if heartbeat else ()
        collected = self._futures.collected_among(ids)
        return [message_id for message_id in ids if message_id in collected]


def record_withdrawal(futures: Futures, ids: Collection[str], reason: str) -> None:
    """Record, durably, that no process waits for these requests any more."""
    futures.move(ids, Future.FAILED, code=Reason.STOPPED, reason=reason)
    futures.collect(dict.fromkeys(ids, Ended(Reason.STOPPED, reason)))


def publish_withdrawals(endpoint: Endpoint, futures: Futures) -> None:
    """Publish once which requests are withdrawn, in a process without an open run."""
    liveness = Liveness(endpoint, "data-owner")
    AggregatorHeartbeat(endpoint, futures, futures.recipients(), liveness).publish_once()


def _in_turn(lists: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the first one of each list, then the second one of each, and so on."""
    return (item for row in zip_longest(*lists) for item in row if item)
