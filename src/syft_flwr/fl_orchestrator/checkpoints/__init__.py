"""Checkpoints of a training: the global arrays in safetensors files, the last and the best, for both strategy APIs.

::

    checkpoints = Checkpoints(folder, metric="central/accuracy")
    strategy = checkpoints.keep(FedAvg())
    strategy.start(grid, checkpoints.initial(arrays), num_rounds=100 - checkpoints.rounds_done, evaluate_fn=evaluate)
"""

from syft_flwr.fl_orchestrator.checkpoints.checkpoints import Checkpoints
from syft_flwr.fl_orchestrator.checkpoints.file import Checkpoint

__all__ = ["Checkpoint", "Checkpoints"]
