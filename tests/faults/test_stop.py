"""Shows which stop messages end the run of a data owner, and which are ignored."""

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
from faultkit.clock import StillClock
from faultkit.federation import OUTSIDER, OWNERS, STOP_LIMIT, Federation, answer_of, passing_time
from faultkit.forge import Forge, long_ago, unsigned
from faultkit.storage import Storage
from faultkit.synced import SyncedStorage
from flwr.app import ConfigRecord, RecordDict
from waiting import eventually

from syft_flwr._messaging.answering.inbox_folder import InboxFolder
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import StoreError

OWNER, OTHER = OWNERS
RUN = 1001
ANOTHER_RUN = 4711


def interrupt(federation: Federation) -> None:
    """End the client in the middle of a request, as Ctrl-C does."""
    federation.push("interrupt_the_first_time")
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()


def hold_at_the_gate(federation: Federation, behaviour: str) -> str:
    """Send a message, and wait until the app works on it. It replies after the gate of the journal opens."""
    journal = federation[OWNER].journal
    journal.close_gate()
    (message_id,) = federation.push(behaviour)
    journal.wait_for_call(message_id)
    return message_id


def stop_records() -> RecordDict:
    return RecordDict({"config": ConfigRecord({"action": "stop", "reason": "Server stopped"})})


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, [OWNER], clock=StillClock()) as federation:
        yield federation


def make_stop(federation: Federation, **changes: object) -> tuple[str, bytes]:
    """Return the name and the content of a stop, genuine except for ``changes``."""
    return Forge(federation, OWNER).request(stop_records(), type="system", group="final", **changes)


def assert_goes_on(federation: Federation) -> None:
    """Wait until the client has scanned everything, and check that it still answers."""
    federation[OWNER].spy.wait_for_scans()
    federation.assert_served()


def test_stop_of_another_run_is_ignored(federation: Federation, logged: list[str]) -> None:
    federation.start()
    federation.storage.settle()
    name, data = make_stop(federation, run=ANOTHER_RUN)
    federation.storage.plant(name, data)
    eventually(lambda: any(f"run {ANOTHER_RUN} is over" in line for line in logged), "a line about the other run")
    assert_goes_on(federation)
    federation.storage.take(name)


FORGERIES: dict[str, Callable[[Federation], tuple[str, bytes]]] = {
    "expired": lambda federation: make_stop(federation, run=RUN, **long_ago(federation)),
    "signed by an outsider": lambda federation: make_stop(
        federation, run=RUN, signer=Forge(federation, OWNER).outsider_keys
    ),
    "of an outsider in its own name": lambda federation: make_stop(
        federation, run=RUN, sender=OUTSIDER, signer=Forge(federation, OWNER).outsider_keys
    ),
    "unsigned": lambda federation: _changed(make_stop(federation, run=RUN), unsigned),
    "meant for another data owner": lambda federation: _moved(federation, recipient=OTHER),
    "meant for another app": lambda federation: _moved(federation, app="another"),
}


def _changed(made: tuple[str, bytes], change: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    return made[0], change(made[1])


def _moved(federation: Federation, **changes: object) -> tuple[str, bytes]:
    message_id = secrets.token_hex(16)
    return federation.request_name(OWNER, message_id), make_stop(federation, run=RUN, id=message_id, **changes)[1]


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_stop_is_logged_and_ignored(federation: Federation, logged: list[str], kind: str) -> None:
    federation.start()
    federation.assert_served()
    name, data = FORGERIES[kind](federation)
    federation.storage.plant(name, data)
    eventually(lambda: any(line.startswith("WARNING") and name in line for line in logged), "a line about the stop")
    assert_goes_on(federation)


def test_stop_older_than_the_client_is_ignored(federation: Federation) -> None:
    """The stop is for a run that this client never served. The client serves the next run, and ends with its stop."""
    federation.introduce()
    name, data = make_stop(federation, run=ANOTHER_RUN)
    federation.storage.plant(name, data)
    federation.storage.settle()
    federation.start()
    assert_goes_on(federation)
    # The aggregator deletes the stop, because it is a request in its name without a record.
    assert not federation.storage.read(name)


@pytest.mark.parametrize("order", [("start", "stop"), ("stop", "start")], ids=["in-order", "out-of-order"])
def test_run_that_fails_at_once_ends_a_new_client(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    """Its start and its stop arrive before the first scan, but after the key of the client."""
    publish = Endpoint.publish

    def publish_late(endpoint: Endpoint, *arguments: Any) -> None:
        publish(endpoint, *arguments)
        if endpoint.email == OWNER:
            for number, action in enumerate(order):
                records = RecordDict({"config": ConfigRecord({"action": action, "reason": "Server failed"})})
                about: dict[str, Any] = {"type": "system", "id": f"{number:032x}", "run": ANOTHER_RUN}
                name = federation.request_name(OWNER, about["id"])
                federation.storage.plant(name, Forge(federation, OWNER).request(records, **about)[1])
            federation.storage.settle()

    federation.introduce()

    def replied() -> bool:
        names = [federation.response_name(OWNER, f"{number:032x}") for number in range(len(order))]
        return all(federation.storage.read(name) for name in names)

    monkeypatch.setattr(Endpoint, "publish", publish_late)
    federation[OWNER].start()
    # Then the client waits for the end of its requests, and no aggregator ends them.
    with passing_time(federation.clock, at_once=replied):
        federation[OWNER].join()


@pytest.mark.parametrize("order", [("start", "stop"), ("stop", "start")], ids=["in-order", "out-of-order"])
def test_old_run_does_not_end_the_served_one(federation: Federation, order: tuple[str, str]) -> None:
    """The sync service has held the requests of an earlier run back."""
    federation.start()
    federation.assert_served()
    owner = federation[OWNER]
    message_id = hold_at_the_gate(federation, "answer_at_the_gate")
    created = federation.clock.now() - timedelta(hours=1)
    for number, action in enumerate(order):
        records = RecordDict({"config": ConfigRecord({"action": action, "reason": "Server stopped"})})
        about = {"type": "system", "run": ANOTHER_RUN, "created": created, "expires": created + timedelta(hours=5)}
        name, data = Forge(federation, OWNER).request(records, id=f"{number:032x}", **about)
        federation.storage.plant(name, data)
        reply = federation.response_name(OWNER, f"{number:032x}")
        eventually(lambda name=reply: federation.storage.read(name), f"the reply to the {action}")
    owner.journal.open_gate()
    assert answer_of(federation.pull([message_id])[0])["messages"] == 2
    assert_goes_on(federation)


def test_old_stop_is_ignored_if_the_first_listing_fails(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation.start()
    interrupt(federation)
    federation.storage.plant(*make_stop(federation, run=RUN))
    federation.storage.settle()
    names, calls = InboxFolder.names, iter(range(1_000_000))

    def failing(folder: InboxFolder, **options: bool) -> list[str] | None:
        return names(folder, **options) if next(calls) else None

    monkeypatch.setattr(InboxFolder, "names", failing)
    federation[OWNER].start()
    federation.begin_run()
    assert_goes_on(federation)


def test_recorded_old_stop_without_its_file_is_ignored(
    tmp_path: Path, synced: SyncedStorage, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Its end could not be recorded, and the sync service deleted the file between two starts."""

    def refuse(*_: object) -> NoReturn:
        raise StoreError("database or disk is full")

    with Federation(tmp_path / "homes", synced, [OWNER], clock=StillClock()) as federation:
        federation.start()
        federation.assert_served()
        name, data = make_stop(federation, run=RUN)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "end_run", refuse)
            synced.plant(name, data)
            synced.settle()
            eventually(lambda: any("disk is full" in line for line in logged), "a refused end")
            interrupt(federation)
        for email in (OWNER, federation.aggregator):
            Path(synced.path(name, email)).unlink(missing_ok=True)
        federation[OWNER].start()
        federation.begin_run()
        assert_goes_on(federation)


def test_old_requests_of_a_stopped_run_are_not_run(federation: Federation) -> None:
    """The aggregator died after its stop, before it withdrew its requests. The client may find either first."""
    federation.introduce()
    forge = Forge(federation, OWNER, ANOTHER_RUN)
    stop = make_stop(federation, run=ANOTHER_RUN)
    left = [*(forge.request() for _ in range(5)), stop, *(forge.request() for _ in range(5))]
    for name, data in left:
        federation.storage.plant(name, data)
    federation.storage.settle()
    federation[OWNER].start()
    # Not before the client has read the stop, because the aggregator deletes all these files when it begins a run.
    reply = stop[0].removesuffix(".request") + ".response"
    eventually(lambda: federation.storage.read(reply), "the reply to the stop")
    federation.begin_run()
    federation.assert_served()
    assert [call["run"] for call in federation[OWNER].journal.calls] == [RUN]
    assert not any(federation.storage.read(name) for name, _ in left)


def test_replayed_stop_is_ignored(federation: Federation, storage: Storage, logged: list[str]) -> None:
    federation.start()
    kept: dict[str, bytes] = {}

    def keep() -> None:
        names = [name for name in storage.names() if "/messages/" in name and name.endswith(".request")]
        kept.update({name: storage.read(name) for name in names})

    federation.spy.before_deleting = keep
    federation.stop()
    assert kept
    federation.start()
    for name, data in kept.items():
        storage.plant(name, data)
    storage.settle()
    # Where the sync service itself brings files back, the data owner ignores a closed request without a warning.
    for name in kept if storage.absence_withdraws else ():
        eventually(lambda name=name: any(name in line and "replay" in line for line in logged), f"a line about {name}")
    assert_goes_on(federation)


def test_stop_leaves_no_file_of_the_run(federation: Federation, storage: Storage) -> None:
    federation.start()
    federation.assert_served()
    federation.ask("answer_large")
    federation.stop()
    federation.assert_nothing_left()


def test_stop_during_an_app_leaves_no_object(federation: Federation) -> None:
    """The app writes the objects of its reply after the stop, and the reply is never committed."""
    federation.start()
    federation.assert_served()
    owner = federation[OWNER]
    hold_at_the_gate(federation, "answer_large_at_the_gate")
    federation.grid.send_stop_signal()
    federation.close_grid()
    owner.journal.open_gate()
    with passing_time(federation.clock):
        owner.join()
    federation.assert_nothing_left()


@pytest.mark.parametrize("behaviour", ["never_end", "never_end_nor_listen"])
def test_stop_ends_client_and_worker_in_training(tmp_path: Path, storage_with_workers: Storage, behaviour: str) -> None:
    with Federation(tmp_path / "homes", storage_with_workers, [OWNER]) as federation:
        federation.start()
        (message_id,) = federation.push(behaviour)
        process = federation[OWNER].journal.wait_for_call(message_id)["process"]
        assert psutil.pid_exists(process)
        federation.grid.send_stop_signal()
        federation[OWNER].join(STOP_LIMIT)
        assert not psutil.pid_exists(process)


def test_stop_prevents_queued_requests(tmp_path: Path, storage_with_workers: Storage) -> None:
    """Requests that wait behind the running one are not started after the stop."""
    with Federation(tmp_path / "homes", storage_with_workers, [OWNER]) as federation:
        federation.start()
        (first,) = federation.push("never_end")
        federation[OWNER].journal.wait_for_call(first)
        others = [federation.push()[0] for _ in range(2)]
        federation[OWNER].spy.wait_for_scans(2)
        federation.grid.send_stop_signal()
        federation[OWNER].join(STOP_LIMIT)
        assert not any(federation[OWNER].journal.calls_of(message_id) for message_id in others)


def test_stop_of_one_app_does_not_stop_another(tmp_path: Path, storage: Storage) -> None:
    with (
        Federation(tmp_path / "homes", storage, [OWNER]) as first,
        Federation(tmp_path / "homes", storage, [OWNER], app="second") as second,
    ):
        first.start()
        second.start()
        first.assert_served()
        second.assert_served()
        first.ask("raise_error")
        first.stop()
        second.assert_served()
        assert second[OWNER].is_running
