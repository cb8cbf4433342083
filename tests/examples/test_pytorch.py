"""examples/pytorch: the network reads digits, a second run continues it, and the optimizer's state is kept."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="make examples installs PyTorch")

from syft_flwr.fl_orchestrator import Checkpoints  # noqa: E402

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_second_run_continues_from_the_checkpoint(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = trial("pytorch")
    from pytorch_digits import task

    federation.run("private", "--run-config", "num-server-rounds=3")
    last = Checkpoints(federation.output / "checkpoints").last()
    assert last
    assert last.server_round == 3
    # Two epochs in each round: the number is in Context.state of each post office.
    assert last.metrics["train/epochs"] == 6

    result = federation.run()

    last = Checkpoints(federation.output / "checkpoints").last()
    assert last
    assert last.server_round == 5
    # A training and a test in each of two more rounds.
    assert result["answers"] == 2 * 2 * len(federation.emails)
    net = task.Net()
    net.load_state_dict(torch.load(federation.output / "network.pt", weights_only=True))
    for folder in federation.data("private"):
        monkeypatch.setenv("DATA_DIR", str(folder))
        _, held_out = task.load_images(federation.context())
        assert task.test(net, held_out)[1] > 0.9


def test_simulated_node_gets_its_part_of_the_digits(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = trial("pytorch")
    from pytorch_digits import task

    for number, folder in enumerate(federation.data("private")):
        monkeypatch.delenv("DATA_DIR", raising=False)
        parts = task.load_images(federation.context(**{"partition-id": number, "num-partitions": 2}))
        monkeypatch.setenv("DATA_DIR", str(folder))
        files = task.load_images(federation.context())
        for part, file in zip(parts, files, strict=True):
            for one, other in zip(part, file, strict=True):
                np.testing.assert_array_equal(one.numpy(), other.numpy(), strict=True)
