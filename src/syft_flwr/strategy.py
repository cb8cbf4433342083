"""A strategy that projects of syft-flwr 0.5 import. New projects use ``Checkpoints`` (docs/how-to/checkpoints.md)."""

from pathlib import Path
from typing import Any

from flwr.common import Parameters, Scalar
from flwr.server.strategy import FedAvg

from syft_flwr.checkpoints.arrays import named
from syft_flwr.checkpoints.checkpoint_file import require_safetensors, write_arrays
from syft_flwr.log import logger

__all__ = ["FedAvgWithModelSaving"]


class FedAvgWithModelSaving(FedAvg):
    """``FedAvg`` of the older API that also writes the global parameters of each round, the initial ones as round 0.

    A file has the name ``parameters_round_<round>.safetensors`` and the arrays ``layer_0``, ``layer_1``, and so on. It is
    written in full, then renamed.

    Args:
        save_path: the folder of the files, which is created.
        args: passed on to ``FedAvg``.
        kwargs: passed on to ``FedAvg``.

    Raises:
        ConfigError: the package safetensors is missing or too old.
    """

    def __init__(self, save_path: str | Path, *args: Any, **kwargs: Any) -> None:
        require_safetensors()
        self.save_path = Path(save_path)
        self.save_path.mkdir(exist_ok=True, parents=True)
        super().__init__(*args, **kwargs)

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        """Write the parameters, then evaluate as ``FedAvg`` does.

        Raises:
            StorageFullError, StorageError, StoreError: the file cannot be written.
            ConfigError: there are no arrays, or one has a type that such a file cannot hold.
        """
        self._save(server_round, parameters)
        return super().evaluate(server_round, parameters)

    def _save(self, server_round: int, parameters: Parameters) -> None:
        if not self.save_path.is_dir():
            # A training of days continues without the files, as in syft-flwr 0.5.
            logger.error(
                "round {} is not saved: the folder {} was deleted or moved; create it again",
                server_round,
                self.save_path,
            )
            return
        path = self.save_path / f"parameters_round_{server_round}.safetensors"
        write_arrays(path, named(parameters, [f"layer_{index}" for index in range(len(parameters.tensors))]))
        logger.info("round {} is saved in {}", server_round, path)
