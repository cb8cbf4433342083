"""The call budget of an account: calls per second, bursts and units per minute."""

import threading

import pytest
from drivekit.accounts import ANN, Person

from syft_flwr.errors import UnavailableError
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.budget import Budget, Units

FOREVER = 1e12


def start(budget: Budget, units: float, latest: float = FOREVER) -> float:
    found = budget.reserve(units, latest)
    assert found is not None
    return found


def test_burst_starts_at_once_then_at_the_rate() -> None:
    budget = Budget(clock=FakeClock())
    starts = [start(budget, 0) for _ in range(103)]
    assert starts[:100] == [0.0] * 100
    assert starts[100:] == pytest.approx([0.1, 0.2, 0.3])


def test_units_are_spent_at_their_rate() -> None:
    budget = Budget(units_per_minute=60_000, calls_per_second=1e9, clock=FakeClock())
    # A twelfth of the units of a minute may be spent at once.
    assert start(budget, 5_000) == 0.0
    assert start(budget, 500) == pytest.approx(0.5)
    assert start(budget, 500) == pytest.approx(1.0)


def test_unspent_budget_is_kept_up_to_capacity() -> None:
    clock = FakeClock()
    budget = Budget(calls_per_second=10, burst=5, clock=clock)
    assert [start(budget, 0) for _ in range(6)][-1] == pytest.approx(0.1)
    clock.advance(1000)
    assert [start(budget, 0) - 1000 for _ in range(6)] == pytest.approx([0, 0, 0, 0, 0, 0.1])


def test_units_per_minute_stay_within_quota() -> None:
    clock = FakeClock()
    budget = Budget(calls_per_second=1e9, burst=1e9, clock=clock)
    starts = []
    while clock.monotonic() < 180:
        at = start(budget, Units.DOWNLOAD)
        starts.append(at)
        clock.advance(max(0.0, at - clock.monotonic()))
    busiest = max(sum(1 for at in starts if first <= at < first + 60) for first in (0, 10, 60, 100))
    assert 290_000 < busiest * Units.DOWNLOAD <= 325_000


def test_call_too_late_to_start_costs_nothing() -> None:
    budget = Budget(units_per_minute=60_000, clock=FakeClock())
    start(budget, 5_000)
    assert budget.reserve(5_000, latest=4.9) is None
    assert start(budget, 100) == pytest.approx(0.1)


def test_batch_above_capacity_starts_late() -> None:
    budget = Budget(units_per_minute=600, clock=FakeClock())
    assert start(budget, 500) == pytest.approx(45.0)


def test_threads_share_one_rate() -> None:
    budget = Budget(clock=FakeClock())
    starts: list[float] = []
    threads = [threading.Thread(target=lambda: starts.extend(start(budget, 0) for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(starts)[:100] == [0.0] * 100
    assert sorted(starts)[100:] == pytest.approx([0.1 * number for number in range(1, 301)])


def test_client_spends_the_units_that_google_counts(ann: Person) -> None:
    ids = ann.drive.new_ids(50)
    drive = ann.open(budget=Budget(units_per_minute=6_000, clock=ann.clock))
    ann.emulator.reset_meters()
    before = ann.clock.monotonic()
    for _ in range(5):
        drive.get_many(ids)
    # 1,250 units: 500 at once, then 100 per second.
    assert ann.clock.monotonic() - before == pytest.approx(7.5)
    assert ann.emulator.meter(ANN).units == 1250
    drive.close()


def test_clients_of_one_account_share_a_budget(ann: Person) -> None:
    budget = Budget(calls_per_second=1, burst=2, clock=ann.clock)
    drives = [ann.open(budget=budget) for _ in range(2)]
    before = ann.clock.monotonic()
    for number in range(6):
        drives[number % 2].free_space()
    assert ann.clock.monotonic() - before == pytest.approx(4)
    for drive in drives:
        drive.close()


def test_call_above_the_budget_is_an_error(ann: Person) -> None:
    drive = ann.open(budget=Budget(units_per_minute=12, clock=ann.clock))
    with pytest.raises(UnavailableError, match="more calls than"):
        list(drive.search("trashed = false"))
    drive.close()
