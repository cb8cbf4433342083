"""A data owner tells since when nothing came from its aggregator, and continues when it is back after a day."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, NAMES, OWNERS, Federation
from faultkit.storage import FolderStorage, Storage
from waiting import eventually

OWNER = OWNERS[0]
HOUR = 3_600.0
STATUS = NAMES.aggregator_heartbeat(AGGREGATOR)


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, [OWNER], clock=StillClock()) as federation:
        yield federation


def warnings(logged: list[str]) -> list[str]:
    return [line for line in logged if "nothing has come from" in line]


def pass_hours(federation: Federation, hours: int) -> None:
    """Let time pass in steps of twenty minutes. The data owner looks at its files after each."""
    for _ in range(3 * hours):
        federation.clock.advance(1_200)
        # One look can list the messages three times.
        federation[OWNER].spy.wait_for_scans(4)


def test_day_without_the_aggregator_is_told_rarely(federation: Federation, logged: list[str]) -> None:
    federation.start()
    run = federation.grid.run.run_id
    (first,) = federation.assert_served()
    federation.abandon()
    pass_hours(federation, 24)
    told = warnings(logged)
    assert f"nothing has come from {AGGREGATOR} for 1200 s (last seen 1200 s ago)" in told[0]
    assert f"ask {AGGREGATOR} whether its server" in told[0]
    # After 20, 40, 80 minutes and so on, and then every six hours.
    assert 7 <= len(told) <= 10
    federation.begin_run(run)
    # The same message again gets the reply on record.
    assert federation.assert_served() == [first]
    (second,) = federation.assert_served()
    assert (first["messages"], second["messages"]) == (1, 2)
    eventually(lambda: [line for line in logged if f"{AGGREGATOR} is heard again, after" in line], "a line about it")
    assert warnings(logged) == told


def test_aggregator_that_asks_nothing_for_hours_is_no_warning(federation: Federation, logged: list[str]) -> None:
    federation.start()
    federation.assert_served()
    for _ in range(20):
        seen = federation.storage.read(STATUS)
        federation.clock.advance(599)
        eventually(lambda seen=seen: federation.storage.read(STATUS) != seen, "the next heartbeat of the aggregator")
        federation.storage.settle()
        federation[OWNER].spy.wait_for_scans(4)
    assert warnings(logged) == []
    federation.assert_served()


def test_client_between_two_runs_does_not_warn(tmp_path: Path, memory: Storage, logged: list[str]) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], clock=StillClock()) as federation:
        federation[OWNER].start()
        pass_hours(federation, 3)
        assert warnings(logged) == []
        [line] = [line for line in logged if f"{OWNER} serves" in line]
        assert f"{OWNER} serves {AGGREGATOR} (not seen yet); own fingerprint: " in line


def test_heartbeat_of_the_aggregator_ends_with_it(federation: Federation) -> None:
    federation.start()
    eventually(lambda: federation.storage.read(STATUS), "the heartbeat of the aggregator")
    federation.grid.send_stop_signal()
    federation.close_grid()
    # Where files vanish, it lists the withdrawn requests, and a data owner may read it later.
    assert bool(federation.storage.read(STATUS)) == (not federation.storage.absence_withdraws)


def test_worker_is_given_back_while_the_aggregator_is_away(
    tmp_path: Path, folder_with_workers: FolderStorage, logged: list[str]
) -> None:
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER], clock=StillClock()) as federation:
        federation.start()
        run = federation.grid.run.run_id
        (first,) = federation.assert_served()
        federation.abandon()
        thread = federation[OWNER].thread
        eventually(lambda: thread.ident in federation.clock.asleep, "the wait for a request")
        federation.clock.advance(900)
        eventually(lambda: not psutil.pid_exists(int(str(first["process"]))), "the end of the worker")
        [line] = eventually(lambda: [line for line in logged if "so the worker is ended" in line], "a line about it")
        assert f"no request came for 900 s ({AGGREGATOR}: last seen 900 s ago)" in line
        federation.begin_run(run)
        # The same message again gets the reply on record.
        assert federation.assert_served() == [first]
        (second,) = federation.assert_served()
        assert (first["messages"], second["messages"]) == (1, 2)
