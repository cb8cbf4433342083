"""The states of the global random numbers: taken without an effect, set again, and never of more packages than the app uses."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from syft_flwr.fl_orchestrator.run_random import set_states, taken_states


@pytest.fixture(autouse=True)
def own_numbers() -> Iterator[None]:
    """Give the next test the numbers that it had without this one."""
    before, bits = taken_states(), np.random.get_bit_generator()
    yield
    np.random.set_bit_generator(bits)
    set_states(before)


def drawn() -> list[float]:
    """Return an odd number of Gaussian values: the generators keep the second one of each pair."""
    return [random.random(), random.gauss(), float(np.random.random()), float(np.random.normal())]


def test_set_states_give_the_same_numbers_again() -> None:
    drawn()
    before = taken_states()
    first = [drawn() for _ in range(400)]

    set_states(before)

    assert [drawn() for _ in range(400)] == first


def test_taking_the_states_draws_no_number() -> None:
    random.seed(1)
    np.random.seed(1)
    taken_states()
    after = drawn()
    random.seed(1)
    np.random.seed(1)

    assert drawn() == after


def test_other_generator_of_numpy_is_set_again() -> None:
    np.random.set_bit_generator(np.random.PCG64(1))
    before = taken_states()
    first = drawn()

    set_states(before)

    assert drawn() == first


def test_state_that_does_not_fit_is_logged_without_it(logged: list[str]) -> None:
    np.random.set_bit_generator(np.random.PCG64(1))
    before = taken_states()
    first = drawn()
    np.random.set_bit_generator(np.random.MT19937(1))

    set_states(before)

    assert drawn()[:2] == first[:2]
    (line,) = logged
    assert "the random numbers of NumPy cannot be set" in line
    assert not set(before.replace(",", " ").split()) & set(line.split())


def test_pytorch_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")
    script = "from syft_flwr.fl_orchestrator.run_random import *; set_states(taken_states())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
