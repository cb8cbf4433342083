"""The most expensive contents of the largest permitted envelope are refused within a budget of steps."""

import contextlib

import pytest
from hostile.largest import HONEST, KINDS, read_largest
from hostile.steps import bounded_steps

from syft_flwr._messaging.wire.limits import MAX_FIELDS
from syft_flwr.errors import MalformedError

#: Steps of this package for one envelope, for each field that a message may have.
BUDGET = 30 * MAX_FIELDS


@pytest.mark.parametrize("kind", KINDS)
def test_largest_envelope_is_refused_within_its_steps(kind: str) -> None:
    data = KINDS[kind]()
    with bounded_steps(BUDGET, "syft_flwr"), pytest.raises(MalformedError):
        read_largest(data)


@pytest.mark.parametrize("kind", HONEST)
def test_largest_honest_envelope_is_read_within_its_steps(kind: str) -> None:
    data = HONEST[kind]()
    with bounded_steps(BUDGET, "syft_flwr"):
        assert read_largest(data).has_content()


def repeat(times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(ValueError):
            int("")


@pytest.mark.parametrize("is_caught", [False, True])
def test_more_steps_than_the_budget_are_found(is_caught: bool) -> None:
    def read() -> None:
        with contextlib.suppress(Exception if is_caught else ValueError):
            repeat(1_000)

    with pytest.raises(AssertionError, match="more than 500 steps"), bounded_steps(500):
        read()
    with bounded_steps(10_000) as steps:
        read()
    assert 1_000 < steps.taken < 10_000
