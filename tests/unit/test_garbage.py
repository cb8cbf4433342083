"""``gc`` removes the files of crashed runs, and keeps the files of unfinished ones."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Future, Received, RunState
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.locks import ProcessLock
from syft_flwr.names import AppNames
from syft_flwr.runs.record import Role, RunRecord
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork

_ME, _PEER = "me@x.org", "peer@y.org"
_NAMES = AppNames("gc")
_LARGE = [b"x" * 100_000]


@pytest.fixture
def participant(tmp_path: Path) -> Participant:
    network = MemoryNetwork(part_size=40_000)
    network.transport(_PEER).open_inbox(_NAMES.inbox(_PEER))
    return Participant(load_settings(environ={}, email=_ME, home=tmp_path), network.transport(_ME))


def _request(
    participant: Participant,
    message_id: str,
    kind: str,
    expires: datetime,
    *,
    run: int = 7,
    objects: Sequence[str] = (),
) -> str:
    futures = Futures(participant.app_home(_NAMES.app) / "futures.db")
    now = datetime.now(UTC)
    group = "final" if kind == "system" else "1"
    futures.add(
        [
            FutureRow(
                id=message_id,
                run=run,
                recipient=_PEER,
                type=kind,
                group=group,
                round=group,
                content="" if kind == "system" else "c0" * 32,
                state=Future.SENT,
                created=now,
                expires=expires,
                request=b"sealed",
                objects=tuple(objects),
            )
        ]
    )
    futures.close()
    name = _NAMES.request(_PEER, _ME, message_id)
    participant.transport.put(name, b"sealed", readers=[_PEER])
    return name


def test_files_of_a_crashed_server_are_removed(participant: Participant) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    name = _request(participant, "a" * 32, "train", later)
    folder = ObjectFolder(participant.transport, _NAMES, _ME, encryption=True)
    objects = folder.write(_LARGE, run=7, readers=[_PEER], shared=True).objects
    assert len(objects) == 3
    found, busy = collect_garbage(participant, dry_run=True)
    assert (len(found), busy) == (4, [])
    assert participant.transport.stat(name).size == 6
    assert {leftover.name for leftover in collect_garbage(participant, dry_run=False)[0]} >= {name}
    assert list(participant.transport.list(f"{_ME}/")) == []
    assert collect_garbage(participant, dry_run=False) == ([], [])


def test_files_of_a_resumable_run_are_kept(participant: Participant) -> None:
    later = participant.clock.now() + timedelta(hours=1)
    folder = ObjectFolder(participant.transport, _NAMES, _ME, encryption=True)
    mine, other, unrecorded = (
        folder.write([bytes([number]) * 100_000], run=run, readers=[_PEER], shared=True).objects
        for number, run in enumerate((7, 8, 7))
    )
    kept = _request(participant, "a" * 32, "train", later, run=7, objects=[ref.id for ref in mine])
    gone = _request(participant, "b" * 32, "train", later, run=8, objects=[ref.id for ref in other])
    RunRecord(participant.app_home(_NAMES.app), _NAMES.app, "aggregator", participant.clock).begin(7)

    found, _ = collect_garbage(participant, dry_run=False)

    removed = {gone, *(_NAMES.object(_ME, ref.id) for ref in (*other, *unrecorded))}
    assert {leftover.name for leftover in found} == removed
    assert participant.transport.stat(kept).size == 6
    assert folder.missing(mine) == []


@pytest.mark.parametrize("why", ["the run ended", "the run is too old", "the run is a data owner's"])
def test_files_that_no_run_needs_are_removed(participant: Participant, why: str) -> None:
    clock = FakeClock(datetime.now(UTC))
    participant = replace(participant, clock=clock)
    role: Role = "datasite" if why == "the run is a data owner's" else "aggregator"
    record = RunRecord(participant.app_home(_NAMES.app), _NAMES.app, role, clock)
    record.begin(7)
    name = _request(participant, "a" * 32, "train", clock.now() + timedelta(hours=1))
    if why == "the run ended":
        record.end(7, RunState.COMPLETED, "")
    elif role == "aggregator":
        clock.advance(MAX_LIFETIME.total_seconds() + 1)

    found, _ = collect_garbage(participant, dry_run=False)

    assert [leftover.name for leftover in found] == [name]


def test_stop_request_is_kept_until_it_expires(participant: Participant) -> None:
    now = datetime.now(UTC)
    kept = _request(participant, "b" * 32, "system", now + timedelta(hours=1))
    gone = _request(participant, "c" * 32, "system", now - timedelta(hours=1))
    assert [leftover.name for leftover in collect_garbage(participant, dry_run=False)[0]] == [gone]
    assert participant.transport.stat(kept).size == 6


def test_objects_of_uncollected_replies_are_kept(participant: Participant) -> None:
    folder = ObjectFolder(participant.transport, _NAMES, _ME, encryption=True)
    kept = make_body(_LARGE, folder, run=7, readers=[_PEER]).manifest.objects
    orphans = make_body(_LARGE, folder, run=7, readers=[_PEER]).manifest.objects
    home = participant.app_home(_NAMES.app)
    (home / "contexts").mkdir(parents=True)
    (home / "contexts" / "orphan.state").write_bytes(b"12345")
    ledger = Ledger(home / "ledger.db")
    now = datetime.now(UTC)
    ledger.add(ReceivedRow("d" * 32, 7, _PEER, "train", "1", Received.RECEIVED, "0" * 64, now, now))
    ledger.answer(
        "d" * 32,
        response=b"sealed",
        objects=[ref.id for ref in kept],
        context=None,
    )
    ledger.close()
    found, _ = collect_garbage(participant, dry_run=False)
    assert {leftover.name for leftover in found} == {"orphan.state", *(_NAMES.object(_ME, ref.id) for ref in orphans)}
    assert folder.missing(kept) == []
    assert len(folder.missing(orphans)) == len(orphans)


def test_files_of_a_running_server_are_kept(participant: Participant) -> None:
    _request(participant, "e" * 32, "train", datetime.now(UTC))
    with ProcessLock(participant.app_home(_NAMES.app) / "server.lock", "a server"):
        found, busy = collect_garbage(participant, dry_run=False)
    assert found == []
    assert "already running in process" in busy[0]
