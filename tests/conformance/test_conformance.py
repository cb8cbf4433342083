"""Unmodified Flower apps give the same arrays and the same numbers on every system, bit by bit.

No tolerance is needed: the apps send only values with exact averages (``conformance_apps.task``). So the order of
replies, which differs between systems and runs, does not change the result.
"""

from collections.abc import Callable

import pytest
from federations.case import Federation, Outcome, assert_identical
from federations.cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_run_gives_the_result_of_flower(federation: Federation, name: str, reference: Callable[[str], Outcome]) -> None:
    assert_identical(federation.run(CASES[name]), reference(name))


# Only real processes can fail here: apps loaded in a worker, arrays in files, state kept between messages. The examples
# with queries and with secure aggregation run over real processes in tests/examples.
@pytest.mark.e2e
@pytest.mark.parametrize(
    "name",
    [
        "legacy-one-fails",
        "fedavg-large",
        "split-training",
        "rich",
    ],
)
def test_run_of_processes_gives_the_result_of_flower(
    processes: Federation, name: str, reference: Callable[[str], Outcome]
) -> None:
    assert_identical(processes.run(CASES[name]), reference(name))
