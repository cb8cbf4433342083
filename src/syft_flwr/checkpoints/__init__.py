"""Saves the global arrays of a training in safetensors files, the last and the best, for both strategy APIs.

::

    checkpoints = Checkpoints(folder, metric="central/accuracy")
    strategy = checkpoints.keep(FedAvg())
    strategy.start(grid, checkpoints.initial(arrays), num_rounds=100 - checkpoints.rounds_done, evaluate_fn=evaluate)
"""

from syft_flwr.checkpoints.checkpoint_file import Checkpoint
from syft_flwr.checkpoints.series import Checkpoints

__all__ = ["Checkpoint", "Checkpoints"]
