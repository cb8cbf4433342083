"""Follows the objects of the open requests on their way to data owners, and those of the replies on their way back."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.pending import Pending, Stage
from syft_flwr._messaging.attempts import GIVEN_UP_AFTER
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.object_transfers import SLOWEST_LINK, ObjectTransfers
from syft_flwr._messaging.transfer_progress import RequestProgresses
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import MAX_MISSING, MAX_OBJECT
from syft_flwr.runs.events import RequestProgress
from syft_flwr.runs.stream import Emit, ignore

#: Seconds in which an object that the sync service gave up is written again, twice.
_TIME_FOR_ATTEMPTS = 5 * GIVEN_UP_AFTER
#: Bytes of objects that a data owner may send at the same time.
_MOST_AT_ONCE = 4 * MAX_OBJECT


class RequestTransfers:
    """The transfers between the aggregator and its data owners. Used by one thread.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        broadcast: the objects of the requests.
        datasites: the emails of the data owners.
        on_event: gets the progress of the requests.
    """

    def __init__(
        self, endpoint: Endpoint, broadcast: Broadcast, datasites: Collection[str], on_event: Emit = ignore
    ) -> None:
        self._mine = endpoint.mine
        self._clock = endpoint.clock
        self._files_vanish = endpoint.transport.properties.files_vanish
        put_again = partial(broadcast.put_again, readers=list(datasites)) if self._files_vanish else None
        self._transfers = ObjectTransfers(endpoint.names, endpoint.email, endpoint.clock, put_again)
        self._progress = RequestProgresses(endpoint.clock, on_event)

    def look(self, waiting: Sequence[Pending]) -> tuple[str, ...]:
        """Note the objects of replies that have not arrived; return those that the heartbeat names."""
        missing: dict[str, dict[str, int]] = {}
        for pending in waiting:
            arrival = pending.arrival if pending.stage is Stage.ARRIVING else None
            if absent := arrival.missing if arrival else ():
                sizes = missing.setdefault(pending.asked.recipient, {})
                sizes.update((ref.id, self._mine.file_size(ref)) for ref in absent)
        self._transfers.note_theirs(missing)
        return self._transfers.missing()

    def hear(self, heartbeat: Heartbeat, waiting: Sequence[Pending]) -> None:
        """Note which objects a data owner misses, by its new heartbeat. ``waiting`` has the requests to this data owner."""
        held = [pending for pending in waiting if pending.stage is Stage.SENT and heartbeat.holds(pending.id)]
        needed = {object_id for pending in held for object_id in pending.objects}
        sizes = self._mine.sizes_of(dict.fromkeys(found for found in heartbeat.missing if found in needed))
        is_full = len(heartbeat.missing) >= MAX_MISSING
        hidden = max(1.0, len(needed) / len(sizes)) if is_full and sizes else 1.0
        self._transfers.note_ours(heartbeat.email, sizes, hidden=hidden)
        for pending in held:
            self._note_progress(pending, heartbeat.missing, sizes, is_full=is_full)

    def _note_progress(
        self, pending: Pending, missing: Sequence[str], sizes: Mapping[str, int], *, is_full: bool
    ) -> None:
        named = set(missing).intersection(pending.objects)
        # An object is only named after some seconds. So a heartbeat without any tells nothing about a new request.
        if not pending.asked.recorded or not (named or (self._progress.is_open(pending.id) and not is_full)):
            return
        total = arrived = len(pending.objects)
        if is_full:
            # The first missing ones are named, so the state of those after the last of them is not known.
            arrived = 1 + max(number for number, each in enumerate(pending.objects) if each in named)
        arrived -= len(named)

        def bytes_of() -> tuple[int, int]:
            known = pending.object_bytes
            if is_full:
                return known * arrived // total, known
            return max(0, known - sum(sizes.get(each, 0) for each in named)), known

        progress = RequestProgress(pending.id, pending.asked.recipient, arrived, total)
        self._progress.note(pending.asked.run, progress, bytes_of)

    def may_be_arriving(self, pending: Pending) -> bool:
        """Return whether a slow link may still carry the next object of a reply. Otherwise, its objects stopped arriving."""
        # The thread of a strategy may collect it at this moment.
        arrival = pending.arrival
        missing = arrival.missing if arrival else ()
        size = min(sum(self._mine.file_size(ref) for ref in missing), _MOST_AT_ONCE)
        # A sync service may give up an object, and its data owner then writes it again.
        again = _TIME_FOR_ATTEMPTS if self._files_vanish else 0.0
        return self._clock.monotonic() - pending.moved <= again + size / SLOWEST_LINK

    def is_under_way(self, pending: Pending, heartbeat: Heartbeat | None) -> bool:
        """Return whether a request may still be on its way to a data owner that is online.

        Args:
            pending: the request.
            heartbeat: the last heartbeat of the data owner; None if it is not online.
        """
        if pending.stage is not Stage.SENT or heartbeat is None:
            return False
        if self._transfers.is_under_way(pending.asked.recipient, pending.objects):
            return True
        if not self._files_vanish or heartbeat.holds(pending.id):
            return False
        account = pending.account
        needed = (account.bytes_written + account.bytes_saved) / SLOWEST_LINK
        return self._clock.monotonic() - pending.sent < needed
