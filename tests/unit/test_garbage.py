"""``gc`` removes the files of crashed runs, and keeps the files of unfinished ones."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Future, Received, RunState
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.locks import ProcessLock
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

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


def _begin(participant: Participant) -> None:
    """Begin the run 7 as a server does that is killed later."""
    with closing(Futures(participant.app_home(_NAMES.app) / "futures.db")) as futures:
        futures.runs.begin(7, participant.clock.now(), alone=True)


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
    _begin(participant)

    found, _ = collect_garbage(participant, dry_run=False)

    removed = {gone, *(_NAMES.object(_ME, ref.id) for ref in (*other, *unrecorded))}
    assert {leftover.name for leftover in found} == removed
    assert participant.transport.stat(kept).size == 6
    assert folder.missing(mine) == []


@pytest.mark.parametrize("why", ["the run ended", "the run is too old", "the run is a data owner's"])
def test_files_that_no_run_needs_are_removed(participant: Participant, why: str) -> None:
    clock = FakeClock(datetime.now(UTC))
    participant = replace(participant, clock=clock)
    home = participant.app_home(_NAMES.app)
    if why == "the run is a data owner's":
        with closing(Ledger(home / "ledger.db")) as ledger:
            ledger.runs.begin(7, clock.now(), alone=False)
    else:
        _begin(participant)
    name = _request(participant, "a" * 32, "train", clock.now() + timedelta(hours=1))
    if why == "the run ended":
        with closing(Futures(home / "futures.db")) as futures:
            futures.runs.end(7, RunState.COMPLETED, "", clock.now())
    elif why == "the run is too old":
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
    orphan = f"{7:016x}-{'d' * 32}-0123abcd.state"
    (home / "contexts" / orphan).write_bytes(b"12345")
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
    assert {leftover.name for leftover in found} == {orphan, *(_NAMES.object(_ME, ref.id) for ref in orphans)}
    assert folder.missing(kept) == []
    assert len(folder.missing(orphans)) == len(orphans)


def test_kept_files_are_told_with_the_way_to_end_that(participant: Participant) -> None:
    now = datetime.now(UTC)
    _request(participant, "a" * 32, "train", now + timedelta(hours=1))
    _begin(participant)
    with closing(Ledger(participant.app_home(_NAMES.app) / "ledger.db")) as ledger:
        ledger.add(ReceivedRow("d" * 32, 9, _PEER, "train", "1", Received.RECEIVED, "0" * 64, now, now))
    for dry_run in (True, False):
        found, (run, requests) = collect_garbage(participant, dry_run=dry_run)
        assert found == []
        assert "interrupted run 7 of gc" in run
        assert "syft-flwr server PROJECT --fresh" in run
        assert f"open requests of {_PEER} in gc" in requests
        assert "syft-flwr client PROJECT" in requests


def test_files_of_a_running_server_are_kept(participant: Participant) -> None:
    _request(participant, "e" * 32, "train", datetime.now(UTC))
    with ProcessLock(participant.app_home(_NAMES.app) / "server.lock", "a server"):
        found, busy = collect_garbage(participant, dry_run=False)
    assert found == []
    assert "already running in process" in busy[0]


# Second names of objects


@pytest.fixture
def syftbox(tmp_path: Path, pushed: bool) -> Iterator[Participant]:
    """Return a participant over SyftBox, where objects have second names."""
    transport = SyftBoxTransport(tmp_path / "SyftBox", _ME)
    yield Participant(load_settings(environ={}, email=_ME, home=tmp_path), transport)
    transport.close()


def _links(participant: Participant) -> Links:
    transport = participant.transport
    return Links(transport, _NAMES, _ME, transport.properties.links, participant.clock)


def _arrived(participant: Participant, tmp_path: Path, run: int, *, answers: bool) -> str:
    """Let an object of the peer arrive, and get its second name. Return its id."""
    peer = SyftBoxTransport(tmp_path / "SyftBox", _PEER)
    folder = ObjectFolder(peer, _NAMES, _PEER, encryption=True)
    (ref,) = folder.write([bytes(8_000)], run=run, readers=[_ME], shared=not answers).objects
    peer.close()
    links = _links(participant)
    links.follow(_PEER, answers=answers)
    links.note([_file_of(participant, _PEER, ref.id)])
    return ref.id


def _write(participant: Participant) -> tuple[str, str]:
    """Write an object of the run 7; return its id and the name of its file."""
    mine = _links(participant).objects_of(_ME, encryption=True)
    (ref,) = mine.write([bytes(8_000)], run=7, readers=[_PEER], shared=True).objects
    return ref.id, _file_of(participant, _ME, ref.id)


def _file_of(participant: Participant, owner: str, object_id: str) -> str:
    """Return the name of the only file of an object."""
    listed = participant.transport.list(_NAMES.objects(owner))
    (name,) = (entry.name for entry in listed if object_id in entry.name)
    return name


def _second_of(name: str) -> str:
    """Return the second name of an own object, from the name of its file."""
    return f"own/{name.rpartition('/')[2]}"


def _second_names(participant: Participant) -> set[str]:
    root = participant.transport.properties.links
    assert root is not None
    return {str(path.relative_to(root / _NAMES.app)) for path in root.rglob("*") if path.is_file()}


def test_second_names_without_a_run_are_removed(syftbox: Participant, tmp_path: Path) -> None:
    _request(syftbox, "a" * 32, "train", datetime.now(UTC) + timedelta(hours=1))
    _, name = _write(syftbox)
    reply = _arrived(syftbox, tmp_path, 7, answers=True)
    request = _arrived(syftbox, tmp_path, 7, answers=False)
    assert _second_names(syftbox) == {_second_of(name), f"{_PEER}/{reply}", f"{_PEER}/{request}"}

    found, _ = collect_garbage(syftbox, dry_run=False)

    # The aggregator does not decide about the objects that it has as a data owner.
    assert _second_names(syftbox) == {f"{_PEER}/{request}"}
    assert {leftover.name for leftover in found} >= {name, _second_of(name), f"{_PEER}/{reply}"}
    assert list(syftbox.transport.list(_NAMES.objects(_ME))) == []


def test_second_names_of_a_resumable_run_are_kept(syftbox: Participant, tmp_path: Path) -> None:
    object_id, name = _write(syftbox)
    _request(syftbox, "a" * 32, "train", datetime.now(UTC) + timedelta(hours=1), objects=[object_id])
    kept, gone = (_arrived(syftbox, tmp_path, run, answers=True) for run in (7, 8))
    _begin(syftbox)

    found, _ = collect_garbage(syftbox, dry_run=False)

    assert _second_names(syftbox) == {_second_of(name), f"{_PEER}/{kept}"}
    assert syftbox.transport.stat(name).size > 8_000
    assert {leftover.name for leftover in found} == {f"{_PEER}/{gone}"}


def test_data_owner_keeps_second_names_of_open_requests(syftbox: Participant, tmp_path: Path) -> None:
    kept, gone = (_arrived(syftbox, tmp_path, run, answers=False) for run in (7, 8))
    ledger = Ledger(syftbox.app_home(_NAMES.app) / "ledger.db")
    now = datetime.now(UTC)
    ledger.add(ReceivedRow("d" * 32, 7, _PEER, "train", "1", Received.RECEIVED, "0" * 64, now, now))
    ledger.close()

    found, _ = collect_garbage(syftbox, dry_run=False)

    assert _second_names(syftbox) == {f"{_PEER}/{kept}"}
    assert [leftover.name for leftover in found] == [f"{_PEER}/{gone}"]
    ledger = Ledger(syftbox.app_home(_NAMES.app) / "ledger.db")
    ledger.close_request("d" * 32)
    ledger.close()
    collect_garbage(syftbox, dry_run=False)
    root = syftbox.transport.properties.links
    assert root is not None
    assert not root.exists()


def test_collected_request_that_came_back_is_removed(syftbox: Participant) -> None:
    name = _request(syftbox, "a" * 32, "train", datetime.now(UTC) + timedelta(hours=1))
    with closing(Futures(syftbox.app_home(_NAMES.app) / "futures.db")) as futures:
        futures.collect({"a" * 32: Ended()})
    assert [leftover.name for leftover in collect_garbage(syftbox, dry_run=False)[0]] == [name]
    assert collect_garbage(syftbox, dry_run=False) == ([], [])


def test_replies_to_withdrawn_requests_are_removed(syftbox: Participant, tmp_path: Path) -> None:
    withdrawn, open_one = "a" * 32, "b" * 32
    now = datetime.now(UTC)
    with closing(Ledger(syftbox.app_home(_NAMES.app) / "ledger.db")) as ledger:
        for message_id in (withdrawn, open_one):
            ledger.add(ReceivedRow(message_id, 7, _PEER, "train", "1", Received.RECEIVED, "0" * 64, now, now))
            ledger.answer(message_id, response=b"reply", objects=[], context=None)
            name = _NAMES.response(_ME, _PEER, message_id)
            syftbox.transport.put(name, b"reply", readers=[_PEER])
    peer = SyftBoxTransport(tmp_path / "SyftBox", _PEER)
    settings = load_settings(environ={}, email=_PEER, home=tmp_path / "peer")
    with closing(peer), Participant(settings, peer).open_trust() as trust:
        trust.publish()
        heartbeat = Heartbeat("aggregator", _PEER, _NAMES.app, 1, 1, now, withdrawn=(withdrawn,))
        peer.put(_NAMES.aggregator_heartbeat(_PEER), heartbeat.encode(trust.identity), readers=[_ME])

    found, _ = collect_garbage(syftbox, dry_run=False)

    assert [leftover.name for leftover in found] == [_NAMES.response(_ME, _PEER, withdrawn)]


def test_replies_that_are_over_by_time_are_removed(syftbox: Participant) -> None:
    """The aggregator of these requests is gone, so it states nothing."""
    over, open_one = "a" * 32, "b" * 32
    now = datetime.now(UTC)
    with closing(Ledger(syftbox.app_home(_NAMES.app) / "ledger.db")) as ledger:
        for message_id, received in ((over, now - MAX_LIFETIME), (open_one, now)):
            ledger.add(ReceivedRow(message_id, 7, _PEER, "train", "1", Received.RECEIVED, "0" * 64, received, now))
            ledger.answer(message_id, response=b"reply", objects=[], context=None)
            syftbox.transport.put(_NAMES.response(_ME, _PEER, message_id), b"reply", readers=[_PEER])

    found, _ = collect_garbage(syftbox, dry_run=False)

    assert [leftover.name for leftover in found] == [_NAMES.response(_ME, _PEER, over)]


def test_conflict_copies_are_removed(syftbox: Participant, tmp_path: Path) -> None:
    _request(syftbox, "a" * 32, "stop", datetime.now(UTC) + timedelta(hours=1))
    folders = [_NAMES.objects(_ME), f"{_NAMES.objects(_PEER)}00/", _NAMES.status(_PEER)]
    copies = [tmp_path / "SyftBox" / "datasites" / folder / f"{'c' * 32}.conflict.request" for folder in folders]
    for copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"old")
    collect_garbage(syftbox, dry_run=True)
    assert all(copy.exists() for copy in copies)
    collect_garbage(syftbox, dry_run=False)
    assert not any(copy.exists() for copy in copies)


# Files of the user and of other programs


def test_replies_that_the_ledger_does_not_know_are_kept(participant: Participant) -> None:
    now, known, other = datetime.now(UTC), "a" * 32, "someone@z.org"
    with closing(Ledger(participant.app_home(_NAMES.app) / "ledger.db")) as ledger:
        ledger.add(ReceivedRow(known, 7, _PEER, "train", "1", Received.RECEIVED, "0" * 64, now, now))
        ledger.close_request(known)
    box = _NAMES.messages_of(_ME, _PEER)
    gone = _NAMES.response(_ME, _PEER, known)
    kept = {
        _NAMES.response(_ME, _PEER, "b" * 32),
        _NAMES.response(_ME, other, known),
        f"{box}notes.response",
        f"{box}inner/{known}.response",
        f"{_NAMES.messages(_ME)}{known}.response",
    }
    for name in (gone, *kept):
        participant.transport.put(name, b"mine", readers=[_PEER])

    found, _ = collect_garbage(participant, dry_run=False)

    assert [leftover.name for leftover in found] == [gone]
    assert {entry.name for entry in participant.transport.list(_NAMES.messages(_ME))} == kept


def test_foreign_files_in_the_home_are_kept(participant: Participant, tmp_path: Path) -> None:
    home = participant.app_home(_NAMES.app)
    for database in (Futures(home / "futures.db"), Ledger(home / "ledger.db")):
        database.close()
    old = (datetime.now(UTC) - timedelta(days=400)).timestamp()
    target = tmp_path / "target"
    target.mkdir()
    for folder in ("journal", "contexts", "runs"):
        (home / folder).mkdir()
    run = f"{9:016x}"
    kept = [
        target / "mine",
        home / "journal" / "notes",
        home / "contexts" / "mine.state",
        home / "runs" / "notes.jsonl",
        home / "runs" / f"{run}.notes.status.json",
        home / "runs" / f"{run}.aggregator.metrics.xlsx",
    ]
    gone = [
        home / "contexts" / f"{run}-{'a' * 32}-0123abcd.state",
        home / "runs" / f"{run}.aggregator.jsonl",
        home / "runs" / f"{run}.datasite.status.json",
        home / "runs" / f"{run}.aggregator.metrics.jsonl",
        home / "runs" / f"{run}.aggregator.metrics.csv",
    ]
    for path in (*kept, *gone):
        path.write_text("{}")
        os.utime(path, (old, old))
    (home / "journal" / "backup").mkdir()
    (home / "journal" / run).symlink_to(target)
    (home / "contexts" / f"{run}-{'b' * 32}-0123abcd.state").symlink_to(target / "mine")
    (home / "journal" / f"{8:016x}").mkdir()

    found, _ = collect_garbage(participant, dry_run=False)

    assert {leftover.name for leftover in found} == {*(path.name for path in gone), f"{8:016x}"}
    assert [path.read_text() for path in kept] == ["{}"] * len(kept)
    assert {path.name for path in (home / "journal").iterdir()} == {"notes", "backup", run}
    assert (home / "contexts" / f"{run}-{'b' * 32}-0123abcd.state").is_symlink()


@pytest.mark.parametrize("linked", ["the app", "its folders"])
def test_files_behind_a_linked_folder_are_kept(participant: Participant, tmp_path: Path, linked: str) -> None:
    old = (datetime.now(UTC) - timedelta(days=400)).timestamp()
    home, target = participant.app_home(_NAMES.app), tmp_path / "target"
    for database in (Futures(home / "futures.db"), Ledger(home / "ledger.db")):
        database.close()
    run = f"{9:016x}"
    kept = [f"journal/{run}/reply", f"contexts/{run}-{'a' * 32}-0123abcd.state", f"runs/{run}.aggregator.jsonl"]
    for name in kept:
        path = target / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        os.utime(path, (old, old))
    if linked == "the app":
        for name in ("futures.db", "ledger.db"):
            (home / name).rename(target / name)
        shutil.rmtree(home)
        home.symlink_to(target)
    else:
        # A link in the place of the folder of records is allowed.
        for name in ("journal", "contexts"):
            (home / name).symlink_to(target / name)

    found, _ = collect_garbage(participant, dry_run=False)

    assert not found
    assert [(target / name).read_text() for name in kept] == ["mine"] * len(kept)


def test_foreign_folders_beside_the_apps_stay_as_they_are(participant: Participant) -> None:
    apps = participant.app_home(_NAMES.app).parent
    (apps / "photos").mkdir()
    (apps / ".DS_Store").write_text("mine")

    assert collect_garbage(participant, dry_run=False) == ([], [])
    assert {path.relative_to(apps).as_posix() for path in apps.rglob("*")} == {"photos", ".DS_Store", _NAMES.app}


def test_second_names_behind_a_link_are_kept(syftbox: Participant, tmp_path: Path) -> None:
    _request(syftbox, "a" * 32, "train", datetime.now(UTC) + timedelta(hours=1))
    _arrived(syftbox, tmp_path, 7, answers=True)
    root = syftbox.transport.properties.links
    assert root is not None
    target = tmp_path / "target"
    (root / _NAMES.app / _PEER).rename(target)
    (root / _NAMES.app / _PEER).symlink_to(target)
    before = {path.name for path in target.iterdir()}
    assert before

    collect_garbage(syftbox, dry_run=False)

    assert {path.name for path in target.iterdir()} == before
