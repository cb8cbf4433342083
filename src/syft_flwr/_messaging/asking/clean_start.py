"""Deletes the files that earlier processes of this aggregator left, and keeps the files of a resumed run."""

from collections.abc import Collection, Sequence

from syft_flwr._messaging.asking.aggregator_heartbeat import record_withdrawal
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.request_files import RequestFiles, own_requests
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.own_files import request_objects
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.states import Future


class CleanStart:
    """Withdraws old requests and deletes their files. Thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        futures: Futures,
        broadcast: Broadcast,
        files: RequestFiles,
        datasites: Collection[str],
    ) -> None:
        self._endpoint = endpoint
        self._files = files
        self._futures = futures
        self._broadcast = broadcast
        self._datasites = list(datasites)

    def clear_other_runs(self, run: int) -> None:
        """Withdraw the requests of all runs except ``run``."""
        rows = self._futures.unfinished(except_run=run)
        self.withdraw(rows, "the aggregator ended before it was answered")

    def take_over(self, run: int) -> None:
        """Keep the files that the open requests of an earlier process of this run need, and delete the others."""
        rows = [row for row in self._futures.of_run(run) if row.state != Future.COLLECTED]
        # A resumed run always sends requests without a content digest again, such as the message that a run starts.
        self.withdraw([row for row in rows if not row.content], "it is asked again")
        needed = [row for row in rows if row.content]
        for row in needed:
            self._broadcast.adopt(row.objects, holder=row.id)
        self._delete_orphans(needed, run)

    def withdraw(self, rows: Sequence[FutureRow], reason: str) -> None:
        """End requests: record the reason, then delete their files."""
        record_withdrawal(self._futures, [row.id for row in rows], reason)
        for row in rows:
            self._files.delete(self._endpoint.names.request(row.recipient, self._endpoint.email, row.id))
            self._broadcast.release(row.id)

    def _delete_orphans(self, needed: Sequence[FutureRow], run: int) -> None:
        """Delete own files that these requests do not need: an earlier process crashed before it deleted them."""
        me, names, transport = self._endpoint.email, self._endpoint.names, self._endpoint.transport
        ids = {row.id for row in needed}
        for datasite in self._datasites:
            for message_id, entry in own_requests(self._endpoint, self._futures, datasite).items():
                if message_id not in ids:
                    self._files.delete(entry.name)
        objects = {object_id for row in needed for object_id in row.objects}
        orphans = request_objects(transport, names, me, kept=objects)
        own = self._endpoint.ownership.of_runs(orphans, lambda: self._futures.recorded_runs() | {run})
        self._endpoint.mine.delete_orphans(own)
        self._endpoint.links.drop_own(answers=False, kept=objects)
