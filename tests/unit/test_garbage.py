"""``gc`` removes what crashed runs left, and nothing that belongs to something unfinished."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._messaging.names import AppNames
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.states import Future, Received
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.locks import ProcessLock
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.memory import MemoryNetwork

_ME, _PEER = "me@x.org", "peer@y.org"
_NAMES = AppNames("gc")
_LARGE = [b"x" * 100_000]


@pytest.fixture
def participant(tmp_path: Path) -> Participant:
    network = MemoryNetwork(part_size=40_000)
    network.transport(_PEER).open_inbox(_NAMES.inbox(_PEER))
    return Participant(_ME, network.transport(_ME), tmp_path / "home")


def _request(participant: Participant, message_id: str, kind: str, expires: datetime) -> str:
    futures = Futures(participant.app_home(_NAMES.app) / "futures.db")
    now = datetime.now(UTC)
    group = "final" if kind == "system" else "1"
    futures.add([FutureRow(message_id, 7, _PEER, kind, group, Future.SENT, now, expires, b"sealed")])
    futures.close()
    name = _NAMES.request(_PEER, _ME, message_id)
    participant.transport.put(name, b"sealed", readers=[_PEER])
    return name


def test_requests_and_objects_of_a_crashed_server_are_removed(participant: Participant) -> None:
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


def test_a_stop_that_waits_for_a_data_owner_stays_until_it_expires(participant: Participant) -> None:
    now = datetime.now(UTC)
    kept = _request(participant, "b" * 32, "system", now + timedelta(hours=1))
    gone = _request(participant, "c" * 32, "system", now - timedelta(hours=1))
    assert [leftover.name for leftover in collect_garbage(participant, dry_run=False)[0]] == [gone]
    assert participant.transport.stat(kept).size == 6


def test_a_data_owner_keeps_the_objects_of_answers_that_are_not_collected(participant: Participant) -> None:
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
        Received.ANSWERED,
        before=[Received.RECEIVED],
        response=b"sealed",
        objects=[ref.id for ref in kept],
        context=None,
    )
    ledger.close()
    found, _ = collect_garbage(participant, dry_run=False)
    assert {leftover.name for leftover in found} == {"orphan.state", *(_NAMES.object(_ME, ref.id) for ref in orphans)}
    assert folder.missing(kept) == []
    assert len(folder.missing(orphans)) == len(orphans)


def test_what_runs_now_is_left_alone(participant: Participant) -> None:
    _request(participant, "e" * 32, "train", datetime.now(UTC))
    with ProcessLock(participant.app_home(_NAMES.app) / "server.lock", "a server"):
        found, busy = collect_garbage(participant, dry_run=False)
    assert found == []
    assert "already running in process" in busy[0]
