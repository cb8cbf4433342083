"""Shows that a data owner answers from its own record: who asked what and when, how many bytes left, with which outcome.

The bytes are compared with the sizes of the files that the data owner really wrote.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.federation import AGGREGATOR, Federation, answer_of, reason_of
from faultkit.machine import Machine
from faultkit.storage import FolderStorage, Storage
from flwr.app import Array, ArrayRecord
from recordkit.expected import OWNER
from recordkit.reading import Records
from waiting import PATIENCE, eventually

from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr.runs.entry import RecordEntry


@dataclass(frozen=True)
class Answered:
    """One request of the aggregator, as the record of the data owner tells it."""

    run: int
    aggregator: str
    kind: str
    asked: datetime
    outcome: str
    reason: str
    bytes_in: int
    bytes_out: int
    records: tuple[str, ...]
    metrics: tuple[str, ...]


def audit(records: Records) -> dict[str, Answered]:
    """Return the facts in the record about each request, by message, without those that start and stop a run."""
    found: dict[str, Answered] = {}
    for run in records.kept():
        entries = records.of(run)
        received = {entry.fields["message"]: entry for entry in entries if entry.event == "request-received"}
        # A restarted client releases its open replies again: the same files, so they count once.
        released = {entry.fields["message"]: entry for entry in entries if entry.event == "reply-released"}
        for message, entry in received.items():
            if entry.fields["kind"] != "system":
                found[message] = _answered(entry, released[message])
    return found


def _answered(received: RecordEntry, released: RecordEntry) -> Answered:
    asked, told = received.fields, released.fields
    return Answered(
        run=received.run,
        aggregator=asked["aggregator"],
        kind=asked["kind"],
        asked=received.time,
        outcome=told["outcome"],
        reason=told.get("reason", ""),
        bytes_in=asked["bytes"],
        bytes_out=told["bytes"],
        records=tuple(told.get("records", ())),
        metrics=tuple(told.get("metrics", {})),
    )


def records_of(federation: Federation) -> Records:
    return Records(federation.root / OWNER / "apps" / federation.app, "datasite")


def asked_by(federation: Federation) -> Records:
    return Records(federation.root / AGGREGATOR / "apps" / federation.app, "aggregator")


class Written:
    """Measures the messages and objects in the storage before the data owner deletes them."""

    def __init__(self, federation: Federation, storage: Storage) -> None:
        self._federation = federation
        self._storage = storage

    def exchange(self, behaviour: str, **records: Any) -> tuple[str, int, int]:
        """Send a message; return its id, and the bytes of the files of the request and of the reply."""
        federation, storage = self._federation, self._storage
        federation.spy.hidden = (".response",)
        (message_id,) = federation.push(behaviour, OWNER, **records)
        theirs = self._objects_of_request(message_id)
        request = len(storage.read(federation.request_name(OWNER, message_id)))
        reply = eventually(lambda: storage.read(federation.response_name(OWNER, message_id)), "the reply")
        ours = self._objects_of_reply(message_id)
        federation.spy.hidden = ()
        (outcome,) = federation.pull([message_id])
        assert outcome.has_error() == (behaviour == "raise_error")
        return message_id, request + sum(theirs.values()), len(reply) + sum(ours.values())

    def _objects_of_reply(self, message_id: str) -> dict[str, int]:
        """Return the sizes of the objects that the ledger names. A sync service can delete one for a moment."""
        home = self._federation.root / OWNER / "apps" / self._federation.app
        with closing(Ledger(home / "ledger.db")) as ledger:
            row = ledger.get(message_id)
        assert row is not None
        return self._sizes(OWNER, row.objects)

    def _objects_of_request(self, message_id: str) -> dict[str, int]:
        """Return the sizes of the objects that the database of the aggregator names."""
        home = self._federation.root / AGGREGATOR / "apps" / self._federation.app
        with closing(Futures(home / "futures.db")) as futures:
            (row,) = (row for row in futures.of_run(self._federation.grid.run.run_id) if row.id == message_id)
        return self._sizes(AGGREGATOR, row.objects)

    def _sizes(self, owner: str, object_ids: Iterable[str]) -> dict[str, int]:
        wanted = {self._federation.names.object(owner, object_id) for object_id in object_ids}
        seen: dict[str, int] = {}

        def all_seen() -> bool:
            for name, size in self._objects().items():
                seen[name] = max(size, seen.get(name, 0))
            # One that was deleted between its listing and its reading has no bytes.
            return all(seen.get(name) for name in wanted)

        eventually(all_seen, "the objects of the message")
        return {name: size for name, size in seen.items() if name in wanted}

    def _objects(self) -> dict[str, int]:
        """Return the sizes of the objects by their first name: a slow sync service gets a later copy of the same bytes.

        Another copy may still be on its way, so the largest size counts.
        """
        names, storage = self._federation.names, self._storage
        found = {}
        for name in storage.names():
            owner = name.partition("/")[0]
            if parsed := names.parse_object(owner, name):
                first = names.object(owner, parsed.id)
                found[first] = max(len(storage.read(name)), found.get(first, 0))
        return found


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        yield federation


def test_record_tells_who_asked_and_how_many_bytes_left(federation: Federation, storage: Storage) -> None:
    """The objects of a message are files of their own, next to the envelope. Both count."""
    federation.introduce()
    federation.start()
    weights = ArrayRecord({"weights": Array(np.random.default_rng(7).normal(size=4_000_000))})
    written, sizes = Written(federation, storage), {}
    for behaviour, records in (("answer", {}), ("echo", {"arrays": weights}), ("raise_error", {})):
        message_id, bytes_in, bytes_out = written.exchange(behaviour, **records)
        sizes[message_id] = behaviour, bytes_in, bytes_out
    run = federation.grid.run.run_id
    federation.stop()

    found = audit(records_of(federation))

    assert found.keys() == sizes.keys()
    times = [found[message].asked for message in sizes]
    assert times == sorted(times)
    for message, (behaviour, bytes_in, bytes_out) in sizes.items():
        told = found[message]
        assert (told.run, told.aggregator, told.kind) == (run, AGGREGATOR, "query")
        assert (told.bytes_in, told.bytes_out) == (bytes_in, bytes_out), behaviour
        failed = behaviour == "raise_error"
        assert (told.outcome, told.reason) == (("failed", "app-raised") if failed else ("answered", ""))
        assert told.metrics == (() if failed else ("process", "messages"))
        assert told.records == {"answer": ("answer",), "echo": ("answer", "arrays"), "raise_error": ()}[behaviour]


def test_both_records_have_the_metrics_of_a_reply(federation: Federation) -> None:
    federation.start()
    (reply,) = federation.ask("answer")
    run, told = federation.grid.run.run_id, dict(reply.content["answer"].items())
    federation.stop()

    for records, event in ((records_of(federation), "reply-released"), (asked_by(federation), "request-ended")):
        found = [entry.fields.get("metrics") for entry in records.of(run) if entry.event == event]
        # Those that start and stop the run have none.
        assert [metrics for metrics in found if metrics] == [told], event


def test_runs_are_told_apart(federation: Federation) -> None:
    asked = {}
    for _ in range(2):
        federation.start()
        (message_id,) = federation.push("answer", OWNER)
        assert answer_of(federation.pull([message_id])[0])
        asked[message_id] = federation.grid.run.run_id
        federation.stop()
    assert {message: told.run for message, told in audit(records_of(federation)).items()} == asked


def test_record_needs_no_database(federation: Federation) -> None:
    federation.start()
    (failed,) = federation.ask("raise_error")
    assert reason_of(failed)
    federation.stop()
    records = records_of(federation)
    (records.home / "ledger.db").unlink()
    assert [told.outcome for told in audit(records).values()] == ["failed"]


def test_kill_between_commit_and_release_loses_no_event(tmp_path: Path, folder: FolderStorage) -> None:
    """A folder in the place of the reply lets each write fail, so that the client has committed and not released."""
    machine = Machine(tmp_path / "machines", OWNER, folder.data_dir)
    try:
        with Federation(tmp_path / "homes", folder, [OWNER]) as federation:
            machine.start()
            federation.begin_run()
            federation.assert_served()
            (message_id,) = federation.push("answer_at_the_gate")
            machine.journal.wait_for_call(message_id)
            response = folder.path(federation.response_name(OWNER, message_id))
            response.mkdir()
            machine.journal.open_gate()
            eventually(lambda: "could not be written" in machine.log.read_text(), "the failed release")
            machine.kill()
            records = Records(machine.root / OWNER / "state" / OWNER / "apps" / federation.app, "datasite")
            (run,) = records.kept() - {0}
            assert not events(records, run, message_id, "reply-released")

            response.rmdir()
            federation.spy.hidden = (".response",)
            machine.start()
            size = len(eventually(lambda: response.is_file() and response.read_bytes(), "the reply"))
            eventually(lambda: events(records, run, message_id, "reply-released"), "the first release")
            machine.kill()
            starts = machine.log.read_text().count(" serves ")
            machine.start()
            eventually(lambda: len(events(records, run, message_id, "reply-released")) == 2, "the second release")
            # A stop that arrives during the start of a client does not end it.
            eventually(lambda: machine.log.read_text().count(" serves ") > starts, "the start of the third client")
            federation.spy.hidden = ()
            assert answer_of(federation.pull([message_id])[0])
            federation.grid.send_stop_signal()
            federation.close_grid()
            assert machine.process is not None
            assert machine.process.wait(PATIENCE) == 0
    finally:
        machine.close()
    assert len(machine.journal.calls_of(message_id)) == 1
    released = events(records, run, message_id, "reply-released")
    assert [entry.fields["bytes"] for entry in released] == [size, size]
    assert audit(records)[message_id].outcome == "answered"


def events(records: Records, run: int, message_id: str, name: str) -> list[RecordEntry]:
    entries = records.of(run)
    return [entry for entry in entries if entry.event == name and entry.fields["message"] == message_id]
