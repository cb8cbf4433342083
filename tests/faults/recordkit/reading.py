"""Reads the records of a participant from its disk, and checks the rules that hold for each record."""

from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from recordkit.expected import OWNER

from syft_flwr._store.run_table import RunRow
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.listing import SIDES
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.status import RunStatuses

#: The run of events that belong to no run.
NO_RUN = 0


class Records:
    """The records of one side of an app, and the runs in its database."""

    def __init__(self, home: Path, role: str) -> None:
        self.home = home
        self.role = role

    def of(self, run: int) -> list[RecordEntry]:
        """Return the entries of a run; none if there is no record."""
        return list(read_entries(record_path(runs_folder(self.home), run, self.role)))

    def kept(self) -> set[int]:
        """Return the runs with a record."""
        paths = runs_folder(self.home).glob(f"*.{self.role}.jsonl")
        return {int(path.name.partition(".")[0], 16) for path in paths}

    def recorded(self) -> dict[int, RunRow]:
        """Return the runs in the database."""
        side = next(side for side in SIDES if side.role == self.role)
        path = self.home / side.database
        if not path.exists():
            return {}
        with closing(side.open(path)) as database:
            return {row.run: row for row in database.runs.all()}


def assert_sound(records: Records, run: int) -> None:
    """Check the rules of each record: no gap, no invented run, one end for each request, and the state of the database."""
    entries, row = records.of(run), records.recorded().get(run)
    assert records.kept() - {NO_RUN} <= set(records.recorded()), "a record of an invented run"
    assert [entry.n for entry in entries] == list(range(1, len(entries) + 1)), "lost or repeated lines"
    for first, second in pairwise(entries):
        assert first.process != second.process or first.elapsed <= second.elapsed
    assert all(entry.run == run for entry in entries)
    if row is None or row.served is None:
        # No process served it here.
        assert not entries
        return
    account = RunAccount()
    for entry in entries:
        account.add(entry)
    assert (account.state, account.cause) == (row.state, row.cause)
    assert account.resumed == row.resumed
    status = RunStatuses(runs_folder(records.home)).get(run, records.role)
    assert status
    counts = (status.state, status.asked, status.answered, status.failed)
    assert counts == (account.state, account.asked, account.answered, account.failed)
    for part in _processes(entries):
        if records.role == "aggregator":
            _assert_one_end(part)
    if records.role == "datasite":
        _assert_received_first(entries)
        ends = [number for number, entry in enumerate(entries, 1) if entry.event == "run-ended"]
        begun_late = [entry for entry in entries[ends[0] :] if entry.event == "request-started"] if ends else []
        assert len(ends) < 2, "two ends of one run"
        assert not begun_late, "the app got a request after the end of the run"
    for entry in entries:
        failed = entry.fields.get("outcome") == "failed" or entry.event == "request-refused"
        assert not failed or (entry.fields["reason"] and entry.fields["text"]), entry


def assert_agree(asked: Sequence[RecordEntry], replied: Sequence[RecordEntry]) -> None:
    """Check that the aggregator counts a reply only if the data owner released it, and that both count the same bytes."""
    sizes = {entry.fields["message"]: _bytes(entry) for entry in asked if entry.event == "request-sent"}
    shared = {entry.fields["message"]: entry.fields.get("bytes_saved", 0) for entry in asked if _is_sent(entry)}
    for entry in replied:
        if entry.event == "request-received" and sizes.get(entry.fields["message"]):
            message = entry.fields["message"]
            assert _bytes(entry) == sizes[message] + shared[message], entry
    released = {entry.fields["message"]: entry for entry in replied if entry.event == "reply-released"}
    for entry in asked:
        if entry.event == "request-ended" and entry.fields["outcome"] == "answered" and _is_to(OWNER, entry):
            reply = released[entry.fields["message"]]
            assert reply.fields["outcome"] == "answered", (entry, reply)
            # A kept reply does not travel again.
            was_kept = entry.fields.get("replayed") and not _bytes(entry)
            assert was_kept or _bytes(reply) == _bytes(entry), (entry, reply)


def _is_to(email: str, entry: RecordEntry) -> bool:
    return bool(entry.fields["data_owner"] == email)


def _is_sent(entry: RecordEntry) -> bool:
    return entry.event == "request-sent"


def _bytes(entry: RecordEntry) -> int:
    return int(entry.fields.get("bytes", 0))


def _processes(entries: Sequence[RecordEntry]) -> list[list[RecordEntry]]:
    """Return the entries of each process, from the begin of the run."""
    found: dict[str, list[RecordEntry]] = {}
    for entry in entries:
        found.setdefault(entry.process, []).append(entry)
    return list(found.values())


def _assert_one_end(entries: Sequence[RecordEntry]) -> None:
    """Check that each sent request of an aggregator's process has one end after it, if the run ended in this process."""
    # A process that begins another run ends this one.
    assert entries[0].event in ("run-started", "run-resumed", "run-ended")
    open_requests: set[str] = set()
    over: set[str] = set()
    for entry in entries:
        if entry.event == "request-sent":
            open_requests.add(entry.fields["message"])
        elif entry.event == "request-ended":
            message, was_sealed = entry.fields["message"], bool(_bytes(entry))
            assert message not in over, f"a second end: {entry}"
            # A request that was never sealed has only an end.
            assert message in open_requests or not was_sealed, f"an end without a request: {entry}"
            open_requests.discard(message)
            over.add(message)
    if any(entry.event == "run-ended" for entry in entries):
        assert entries[-1].event == "run-ended", "an event after the end of the run"
        assert not open_requests, "requests without an end"


def _assert_received_first(entries: Sequence[RecordEntry]) -> None:
    #: The process that received each message last: a restarted client reads its open requests again.
    known: dict[str, str] = {}
    over: set[str] = set()
    for entry in entries:
        message = entry.fields.get("message", "")
        if entry.event == "request-received":
            assert known.get(message) != entry.process, f"received twice: {entry}"
            assert message not in over, f"received after its end: {entry}"
            known[message] = entry.process
        elif message:
            assert message in known, f"not received before: {entry}"
            assert message not in over, f"after its end: {entry}"
            over |= {message} if entry.event == "request-closed" else set()
