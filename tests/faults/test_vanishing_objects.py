"""Shows that no array is lost if another process deletes the files of objects, as the SyftBox client can."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, APP, NAMES, OWNERS, Federation, reason_of
from faultkit.machine import Machine
from faultkit.parts import model, use_small_parts
from faultkit.storage import FolderStorage
from flwr.app import ArrayRecord, Message
from waiting import PATIENCE, eventually

from syft_flwr._messaging import peer_links
from syft_flwr._messaging.asking import KeptAnswers
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import RunState
from syft_flwr.errors import UnavailableError
from syft_flwr.names import new_object_id
from syft_flwr.transport import syftbox

OWNER = OWNERS[0]
#: Plaintext bytes of one object of the aggregator.
PART = 700_000
#: Too large to be inline in the reply of a worker, which has the sizes of a real transport.
ARRAYS = model(4 * PART + PART // 2, seed=1)
#: Objects of a message with ``ARRAYS``, and of the same message of a worker.
PARTS, PARTS_OF_A_WORKER = 5, 2
#: Suffixes of objects that go with the scan, and of pushed ones.
OBJECTS = (".blob", ".request")


@pytest.fixture(params=["in process", "worker"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStorage:
    use_small_parts(monkeypatch)
    monkeypatch.setattr(syftbox, "_PART_SIZE", PART)
    return FolderStorage(tmp_path / "SyftBox", workers=request.param == "worker")


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStorage:
    use_small_parts(monkeypatch)
    monkeypatch.setattr(syftbox, "_PART_SIZE", PART)
    return FolderStorage(tmp_path / "SyftBox")


def objects(storage: FolderStorage, owner: str) -> list[str]:
    """Return the names of the objects of a participant in the shared folder."""
    return [
        name for name in storage.names() if name.startswith(owner) and name.endswith(OBJECTS) and "/objects/" in name
    ]


def second_names(storage: FolderStorage, reader: str, owner: str) -> list[Path]:
    """Return the second names under which ``reader`` keeps the objects of ``owner``, or its own objects."""
    folder = storage.data_dir / ".syft_flwr_links" / reader / APP / ("own" if owner == reader else owner)
    return sorted(folder.glob("*")) if folder.is_dir() else []


def wait_for_second_names(storage: FolderStorage, reader: str, owner: str, number: int = PARTS) -> None:
    eventually(lambda: len(second_names(storage, reader, owner)) == number, f"the second names of {reader}")


def reply_parts(storage: FolderStorage) -> int:
    """Return the number of objects of a reply."""
    return PARTS_OF_A_WORKER if storage.workers else PARTS


def delete_elsewhere(storage: FolderStorage, names: list[str]) -> None:
    """Delete files in another process, as the SyftBox client does."""
    subprocess.run(["rm", "--", *(str(storage.path(name)) for name in names)], check=True)


def assert_echo(reply: Message) -> None:
    assert not reply.has_error(), reason_of(reply)
    arrays = reply.content["arrays"]
    assert isinstance(arrays, ArrayRecord)
    assert [array.data for array in arrays.values()] == [array.data for array in ARRAYS.values()]


def assert_nothing_left(storage: FolderStorage) -> None:
    eventually(lambda: not objects(storage, ""), "the deletion of all objects")
    eventually(lambda: not list(storage.data_dir.rglob(".syft_flwr_links")), "the end of all second names")


# Arrived objects are kept


def test_disk_error_in_keeping_a_reply_loses_nothing(
    tmp_path: Path, plain: FolderStorage, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    with Federation(tmp_path / "homes", plain, [OWNER]) as federation:
        federation.start()
        ids = federation.push("echo", arrays=ARRAYS)
        eventually(lambda: not federation.grid._caller._pending.open(), "the reply")
        folder, real_open = second_names(plain, AGGREGATOR, OWNER)[0].parent, os.open

        def refuse(path: str | Path, *arguments: int, **options: int) -> int:
            if path == folder:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real_open(path, *arguments, **options)

        monkeypatch.setattr(os, "open", refuse)
        assert_echo(federation.pull(ids)[0])
        monkeypatch.undo()
    assert [line for line in logged if "cannot be kept" in line]


def test_outcomes_stay_after_any_error_in_collecting(
    tmp_path: Path, plain: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Federation(tmp_path / "homes", plain, [OWNER]) as federation:
        federation.start()
        ids = [*federation.push(), *federation.push()]
        federation.wait_until_received(2)

        def fail(*_: object) -> bool:
            monkeypatch.undo()
            raise MemoryError

        monkeypatch.setattr(KeptAnswers, "keep", fail)
        with pytest.raises(MemoryError):
            federation.grid.pull_messages(ids)
        assert len(federation.pull(ids)) == 2


def test_reply_given_up_while_it_is_recorded_keeps_nothing(
    tmp_path: Path, plain: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Federation(tmp_path / "homes", plain, [OWNER]) as federation:
        federation.start()
        federation.spy.hidden = (".response",)
        ids = federation.push("echo", arrays=ARRAYS)
        wait_for_second_names(plain, AGGREGATOR, OWNER)
        caller, record = federation.grid._caller, Futures.answer

        def record_and_give_up(futures: Futures, message_id: str, *, response: bytes) -> bool:
            recorded = record(futures, message_id, response=response)
            if message_id in ids:
                caller.give_up(ids, "by the test")
                caller.collect(ids)
            return recorded

        monkeypatch.setattr(Futures, "answer", record_and_give_up)
        federation.spy.hidden = ()
        eventually(lambda: ids[0] not in caller._pending.ids(), "the end of the request")
        eventually(lambda: not second_names(plain, AGGREGATOR, OWNER), "the end of the second names")


def test_request_is_run_after_its_objects_vanished(tmp_path: Path, storage: FolderStorage) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        federation[OWNER].spy.hidden = (".request",)
        ids = federation.push("echo", arrays=ARRAYS)
        wait_for_second_names(storage, OWNER, AGGREGATOR)
        federation.spy.refuses = {"/objects/": UnavailableError("the aggregator cannot put them back")}
        delete_elsewhere(storage, objects(storage, AGGREGATOR))

        federation[OWNER].spy.hidden = ()

        assert_echo(federation.pull(ids)[0])
        federation.spy.refuses = {}
    assert_nothing_left(storage)


def test_reply_is_read_after_its_objects_vanished(tmp_path: Path, storage: FolderStorage) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        federation.spy.hidden = (".response",)
        ids = federation.push("echo", arrays=ARRAYS)
        wait_for_second_names(storage, AGGREGATOR, OWNER, reply_parts(storage))
        eventually(lambda: storage.read(federation.response_name(OWNER, ids[0])), "the reply")
        federation[OWNER].spy.refuses = {"/objects/": UnavailableError("the data owner cannot put them back")}
        delete_elsewhere(storage, objects(storage, OWNER))

        federation.spy.hidden = ()

        assert_echo(federation.pull(ids)[0])
    assert_nothing_left(storage)


def test_second_names_are_bounded_for_each_peer(
    tmp_path: Path, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_links, "MAX_OBJECTS", 2)
    with Federation(tmp_path / "homes", storage) as federation:
        federation.start()
        federation.spy.hidden = (".response",)
        ids = federation.push("echo", arrays=ARRAYS)
        for email, message_id in zip(OWNERS, ids, strict=True):
            wait_for_second_names(storage, AGGREGATOR, email, min(2, reply_parts(storage)))
            eventually(lambda e=email, i=message_id: storage.read(federation.response_name(e, i)), "the reply")
        federation.spy.hidden = ()
        for reply in federation.pull(ids):
            assert_echo(reply)
    assert_nothing_left(storage)


def rewrite_and_replace(path: Path) -> None:
    """Change the bytes under the second name, and put the true bytes back under the first."""
    good = path.read_bytes()
    with path.open("r+b") as file:
        file.write(bytes(len(good)))
    # Not deleted first: its owner would put the changed bytes back.
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(good)
    fresh.replace(path)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


@pytest.mark.parametrize(("change", "reason"), [(rewrite_and_replace, ""), (rewrite, "integrity")])
def test_rewritten_object_of_a_request_is_noticed(
    tmp_path: Path, storage: FolderStorage, change: Callable[[Path], None], reason: str
) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        federation[OWNER].spy.hidden = (".request",)
        ids = federation.push("echo", arrays=ARRAYS)
        wait_for_second_names(storage, OWNER, AGGREGATOR)
        for name in objects(storage, AGGREGATOR):
            change(storage.path(name))

        federation[OWNER].spy.hidden = ()

        (reply,) = federation.pull(ids)
        if reason:
            assert "changed, moved or sealed with another key" in reason_of(reply)
        else:
            assert_echo(reply)
    assert_nothing_left(storage)


# Own objects are put back


def test_vanished_objects_of_an_open_request_come_back(tmp_path: Path, storage: FolderStorage) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.introduce()
        federation.begin_run()
        ids = federation.push("echo", arrays=ARRAYS)
        before = {name: storage.read(name) for name in objects(storage, AGGREGATOR)}
        assert len(before) == PARTS

        delete_elsewhere(storage, list(before))

        eventually(
            lambda: {name: storage.read(name) for name in objects(storage, AGGREGATOR)} == before, "the same objects"
        )
        federation[OWNER].start()
        assert_echo(federation.pull(ids)[0])
    assert_nothing_left(storage)


def test_vanished_objects_of_a_reply_come_back(tmp_path: Path, storage: FolderStorage) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        federation.spy.hidden = (".response",)
        ids = federation.push("echo", arrays=ARRAYS)
        eventually(lambda: storage.read(federation.response_name(OWNER, ids[0])), "the reply")
        before = {name: storage.read(name) for name in objects(storage, OWNER)}

        delete_elsewhere(storage, list(before))

        eventually(lambda: {name: storage.read(name) for name in objects(storage, OWNER)} == before, "the same objects")
        federation.spy.hidden = ()
        assert_echo(federation.pull(ids)[0])
    assert_nothing_left(storage)


def test_withdrawn_object_that_returns_is_deleted(tmp_path: Path, storage: FolderStorage) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        federation.spy.hidden = (".response",)
        ids = federation.push("echo", arrays=ARRAYS)
        eventually(lambda: storage.read(federation.response_name(OWNER, ids[0])), "the reply")
        late = [(name, storage.read(name)) for name in objects(storage, "")]
        federation.spy.hidden = ()
        assert_echo(federation.pull(ids)[0])
        names = {name for name, _ in late}
        # The objects of the latest message stay, because the next one may use them again.
        assert not federation.pull(federation.push("echo", arrays=model(40_000, seed=2)))[0].has_error()
        eventually(lambda: not names & set(objects(storage, "")), "the deletion of the first objects")

        for name, data in late:
            storage.plant(name, data)

        eventually(lambda: not names & set(objects(storage, "")), "the deletion of the late objects")
    assert_nothing_left(storage)


def test_orphan_that_returns_after_the_start_is_deleted(tmp_path: Path, plain: FolderStorage) -> None:
    orphans = [
        NAMES.object(AGGREGATOR, new_object_id(7, answer=False)),
        NAMES.object(OWNER, new_object_id(7, answer=True)),
    ]
    with Federation(tmp_path / "homes", plain, [OWNER]) as federation:
        for participant, store in (
            (federation.participant, "futures.db"),
            (federation[OWNER].participant, "ledger.db"),
        ):
            database = (Futures if store == "futures.db" else Ledger)(participant.app_home(NAMES.app) / store)
            database.runs.end(7, RunState.STOPPED, "", participant.clock.now())
            database.close()
        for attempt in ("first", "late"):
            for name in orphans:
                plain.plant(name, b"sealed")
            if attempt == "first":
                federation.start()
            eventually(lambda: not objects(plain, ""), f"the deletion of the {attempt} files")


# Kills


@pytest.fixture
def machine(tmp_path: Path, plain: FolderStorage) -> Iterator[Machine]:
    with ExitStack() as stack:
        machine = Machine(tmp_path / "machines", OWNER, plain.data_dir)
        stack.callback(machine.close)
        yield machine


def stop(federation: Federation, machine: Machine) -> None:
    """End the run, and check that the process of the client ends."""
    assert federation.grid is not None
    assert machine.process is not None
    federation.grid.send_stop_signal()
    federation.close_grid()
    assert machine.process.wait(PATIENCE) == 0


def test_killed_client_finds_arrived_objects_again(tmp_path: Path, plain: FolderStorage, machine: Machine) -> None:
    with Federation(tmp_path / "homes", plain, [OWNER]) as federation:
        machine.start()
        federation.begin_run()
        # The client is busy with the first message, and only receives the second one.
        (first,) = federation.push("answer_at_the_gate")
        machine.journal.wait_for_call(first)
        (second,) = federation.push("echo", arrays=ARRAYS)
        wait_for_second_names(plain, OWNER, AGGREGATOR)
        machine.kill()
        federation.spy.refuses = {"/objects/": UnavailableError("the aggregator cannot put them back")}
        delete_elsewhere(plain, objects(plain, AGGREGATOR))
        machine.journal.open_gate()

        machine.start()

        replies = federation.pull([first, second])
        assert_echo(replies[1])
        federation.spy.refuses = {}
        stop(federation, machine)
    assert_nothing_left(plain)


def test_killed_client_puts_objects_of_its_reply_back(tmp_path: Path, plain: FolderStorage, machine: Machine) -> None:
    with Federation(tmp_path / "homes", plain, [OWNER]) as federation:
        machine.start()
        federation.begin_run()
        federation.spy.hidden = (".response",)
        (message_id,) = federation.push("echo", arrays=ARRAYS)
        eventually(lambda: plain.read(federation.response_name(OWNER, message_id)), "the reply")
        machine.kill()
        before = {name: plain.read(name) for name in objects(plain, OWNER)}
        assert before
        delete_elsewhere(plain, list(before))

        machine.start()

        eventually(lambda: {name: plain.read(name) for name in objects(plain, OWNER)} == before, "the same objects")
        federation.spy.hidden = ()
        assert_echo(federation.pull([message_id])[0])
        assert len(machine.journal.calls_of(message_id)) == 1
        stop(federation, machine)
    assert_nothing_left(plain)
