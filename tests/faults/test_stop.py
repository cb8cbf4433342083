"""When a run ends for a data owner, and what does not end it."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from faultkit.clock import StillClock
from faultkit.federation import OUTSIDER, OWNERS, STOP_LIMIT, Federation
from faultkit.forge import Forge, long_ago, unsigned
from faultkit.storage import FolderStorage, MemoryStorage
from flwr.app import ConfigRecord, RecordDict
from waiting import eventually

OWNER, OTHER = OWNERS
RUN = 1001
ANOTHER_RUN = 4711


def stop_records() -> RecordDict:
    return RecordDict({"config": ConfigRecord({"action": "stop", "reason": "Server stopped"})})


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, [OWNER], clock=StillClock()) as federation:
        yield federation


def make_stop(federation: Federation, **changes: object) -> tuple[str, bytes]:
    """Make a stop that is genuine but for ``changes``."""
    return Forge(federation, OWNER).request(stop_records(), type="system", group="final", **changes)


def assert_goes_on(federation: Federation) -> None:
    """Wait until the watcher has looked at everything, and show that it still serves."""
    federation[OWNER].spy.wait_for_scans()
    federation.assert_served()


def test_a_stop_of_another_run_ends_nothing(federation: Federation, logged: list[str]) -> None:
    federation.start()
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
def test_a_stop_that_nobody_may_believe_ends_nothing_and_is_named(
    federation: Federation, logged: list[str], kind: str
) -> None:
    federation.start()
    federation.assert_served()
    name, data = FORGERIES[kind](federation)
    federation.storage.plant(name, data)
    eventually(lambda: any(line.startswith("WARNING") and name in line for line in logged), "a line about the stop")
    assert_goes_on(federation)


def test_a_stop_that_lay_there_when_the_watcher_started_ends_nothing(federation: Federation) -> None:
    """It tells of a run that this watcher never served; the next run is served, and ended by its own stop."""
    federation.introduce()
    name, data = make_stop(federation, run=ANOTHER_RUN)
    federation.storage.plant(name, data)
    federation.start()
    assert_goes_on(federation)
    # A request of its own that the aggregator knows nothing of is taken away by it.
    assert not federation.storage.read(name)


def test_what_a_stopped_run_left_in_the_backlog_is_not_run(federation: Federation) -> None:
    """Whichever is found first: the aggregator died after its stop and before it took its requests away."""
    federation.introduce()
    forge = Forge(federation, OWNER, ANOTHER_RUN)
    left = [forge.request() for _ in range(5)] + [make_stop(federation, run=ANOTHER_RUN)]
    left += [forge.request() for _ in range(5)]
    for name, data in left:
        federation.storage.plant(name, data)
    federation.start()
    federation.assert_served()
    assert [call["run"] for call in federation[OWNER].journal.calls] == [RUN]
    assert not any(federation.storage.read(name) for name, _ in left)


def test_a_replayed_stop_ends_nothing(federation: Federation, memory: MemoryStorage, logged: list[str]) -> None:
    federation.start()
    kept: dict[str, bytes] = {}

    def keep() -> None:
        kept.update({name: memory.read(name) for name in memory.names() if name.endswith(".request")})

    federation.spy.before_deleting = keep
    federation.stop()
    assert kept
    federation.start()
    for name, data in kept.items():
        memory.plant(name, data)
    for name in kept:
        eventually(lambda name=name: any(name in line and "replay" in line for line in logged), f"a line about {name}")
    assert_goes_on(federation)


def test_a_stop_leaves_no_file_of_the_run(federation: Federation, memory: MemoryStorage) -> None:
    federation.start()
    federation.assert_served()
    federation.ask("answer_large")
    federation.stop()
    left = [name for name in memory.names() if name.endswith((".request", ".response", ".blob"))]
    assert not left


@pytest.mark.parametrize("behaviour", ["never_end", "never_end_nor_listen"])
def test_a_stop_ends_watcher_and_worker_in_the_middle_of_training(
    tmp_path: Path, folder_with_workers: FolderStorage, behaviour: str
) -> None:
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER]) as federation:
        federation.start()
        (message_id,) = federation.push(behaviour)
        process = federation[OWNER].journal.wait_for_call(message_id)["process"]
        assert psutil.pid_exists(process)
        federation.grid.send_stop_signal()
        federation[OWNER].join(STOP_LIMIT)
        assert not psutil.pid_exists(process)


def test_a_stop_reaches_an_app_that_waits_in_the_queue(tmp_path: Path, folder_with_workers: FolderStorage) -> None:
    """Messages behind the one that trains are not begun after the stop."""
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER]) as federation:
        federation.start()
        (first,) = federation.push("never_end")
        federation[OWNER].journal.wait_for_call(first)
        others = [federation.push()[0] for _ in range(2)]
        federation[OWNER].spy.wait_for_scans(2)
        federation.grid.send_stop_signal()
        federation[OWNER].join(STOP_LIMIT)
        assert not any(federation[OWNER].journal.calls_of(message_id) for message_id in others)


def test_a_stop_of_one_app_leaves_another_app_of_the_same_data_owner_alone(
    tmp_path: Path, memory: MemoryStorage
) -> None:
    with (
        Federation(tmp_path / "homes", memory, [OWNER]) as first,
        Federation(tmp_path / "homes", memory, [OWNER], app="second") as second,
    ):
        first.start()
        second.start()
        first.assert_served()
        second.assert_served()
        first.ask("raise_error")
        first.stop()
        second.assert_served()
        assert second[OWNER].is_running
