"""A resumed run draws PyTorch's random numbers again, such as those of a new network."""

import pytest

from syft_flwr.fl_orchestrator.run_random import set_states, taken_states

torch = pytest.importorskip("torch", reason="make examples installs PyTorch")


def test_pytorch_gives_the_same_numbers_again() -> None:
    before = taken_states()
    first = torch.nn.Linear(30, 20).weight.tolist()

    set_states(before)

    assert torch.nn.Linear(30, 20).weight.tolist() == first
