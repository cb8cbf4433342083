"""The row of one request in the database of an aggregator."""

from syft_flwr._store.futures import FutureRow, Futures


def row_of(futures: Futures, message_id: str) -> FutureRow | None:
    """Return the row of a request; None if it is not recorded."""
    found = futures._database.rows("SELECT run FROM futures WHERE id = ?", (message_id,))
    return next((row for run in found for row in futures.of_run(run["run"]) if row.id == message_id), None)
