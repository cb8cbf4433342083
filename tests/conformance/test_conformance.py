"""Unmodified Flower apps end with the same arrays and the same numbers on every system, bit by bit.

No tolerance is needed anywhere: the apps send only what can be averaged exactly (``conformance_apps.task``), so the
order of replies, which differs between systems and from run to run, cannot show.
"""

from collections.abc import Callable

import pytest
from federations.case import Federation, Outcome, assert_identical
from federations.cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_a_run_ends_as_it_does_on_flower_itself(
    federation: Federation, name: str, reference: Callable[[str], Outcome]
) -> None:
    assert_identical(federation.run(CASES[name]), reference(name))


# What only real processes can get wrong: apps loaded in a worker, arrays in files, state kept between messages.
@pytest.mark.e2e
@pytest.mark.parametrize(
    "name", ["legacy-one-fails", "fedavg-large", "queries", "local-dp", "secure-aggregation-with-a-drop-out"]
)
def test_a_run_of_separate_processes_ends_as_it_does_on_flower_itself(
    processes: Federation, name: str, reference: Callable[[str], Outcome]
) -> None:
    assert_identical(processes.run(CASES[name]), reference(name))
