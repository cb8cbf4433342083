"""The checkpoints of one training: save the global arrays, start from them, or let a strategy do both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from flwr.app import ArrayRecord
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Strategy
from loguru import logger

from syft_flwr.checkpoints import checkpoint_file
from syft_flwr.checkpoints.arrays import (
    AnyArrays,
    check_names,
    named,
    put_in_order,
    to_parameters,
    to_record,
)
from syft_flwr.checkpoints.checkpoint_file import Checkpoint
from syft_flwr.checkpoints.folder import CheckpointFolder
from syft_flwr.checkpoints.training import Training, plain
from syft_flwr.errors import ConfigError, StoreError
from syft_flwr.flower import Parameters

if TYPE_CHECKING:
    from syft_flwr.checkpoints.strategies import KeptLegacyStrategy, KeptStrategy


class Checkpoints:
    """The checkpoints of one training, over as many restarts as it takes.

    ``last.safetensors`` is written as soon as a round's arrays are there. Rounds are counted over all restarts and only go
    forward: a training that would begin anew over an older one is refused. One process at a time, one thread.

    Args:
        folder: where the files lie; it is made if it is not there. Not in a synced folder: nothing in it is encrypted.
        metric: the number that makes a checkpoint the best. With :meth:`keep` its source and its name: ``train/loss``,
            ``evaluate/accuracy`` (both of the data owners), ``central/accuracy`` (of ``evaluate_fn``). None: no best.
        higher_is_better: whether a larger number is better.
        names: of the arrays, in their order, for the older API, whose parameters have none.

    Raises:
        ConfigError: safetensors is not installed, or ``names`` are no names.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        metric: str | None = None,
        higher_is_better: bool = True,
        names: Sequence[str] | None = None,
    ) -> None:
        checkpoint_file.require_safetensors()
        self._folder = CheckpointFolder(Path(folder), metric, higher_is_better=higher_is_better)
        self._names = None if names is None else check_names(names)
        self._training = Training(self._folder, self._names)

    @property
    def rounds_done(self) -> int:
        """The round of the last checkpoint, 0 without one: ``num_rounds = 100 - checkpoints.rounds_done``."""
        return self._folder.rounds_done

    def last(self) -> Checkpoint | None:
        """Read the checkpoint of the last round; None if there is none.

        Raises:
            StoreError: the file is damaged, or none of ours.
        """
        return checkpoint_file.read(self._folder.last)

    def best(self) -> Checkpoint | None:
        """Read the checkpoint with the best metric; None if there is none.

        Raises:
            StoreError: the file is damaged, or none of ours.
        """
        return checkpoint_file.read(self._folder.best)

    def save(self, server_round: int, arrays: AnyArrays, metrics: Mapping[str, Any] | None = None) -> None:
        """Save the arrays of a round as the last, and as the best if its metric is better than every one before.

        Args:
            server_round: the round, counted over all restarts; 0 are the initial arrays.
            arrays: a record, ``Parameters``, or a mapping from names to NumPy arrays.
            metrics: by name. A number that is not finite is never the best. What is neither a number, a list of them nor
                a text is left out.

        Raises:
            ConfigError: the arrays cannot be saved, or a later round is there.
            StorageFullError, StorageError: the file cannot be written; what was there before still is.
            StoreError: a file that is there is damaged.
        """
        if isinstance(server_round, bool) or not isinstance(server_round, int) or server_round < 0:
            raise ConfigError(f"server_round: {server_round!r} is no number of a round")
        if server_round < self.rounds_done:
            raise ConfigError(
                f"round {server_round} cannot be saved: {self._folder.last} is of round {self.rounds_done}",
                hint="Count on from checkpoints.rounds_done, or choose another folder.",
            )
        self._training.save(Checkpoint(server_round, plain("", metrics or {}), named(arrays, self._names)))
        self._training.finish()

    @overload
    def initial(self, arrays: ArrayRecord) -> ArrayRecord: ...
    @overload
    def initial(self, arrays: Parameters) -> Parameters: ...
    @overload
    def initial(self, arrays: None) -> Parameters | None: ...
    def initial(self, arrays: ArrayRecord | Parameters | None) -> ArrayRecord | Parameters | None:
        """Return the arrays to start from: those of the last checkpoint, in the model's order; without one, ``arrays``.

        From then on a kept strategy counts its rounds from :attr:`rounds_done` on.

        Args:
            arrays: what a new training starts from. None as in ``FedAvg(initial_parameters=None)``, which asks a client.

        Raises:
            StoreError: the checkpoint is damaged, or its names or shapes are not those of ``arrays``.
            ConfigError: ``names`` do not fit ``arrays``.
        """
        model = None if arrays is None else named(arrays, self._names)
        self._folder.open()
        last = self.last()
        if last is None:
            self._training.resume(None)
            return arrays
        try:
            found = put_in_order(last.arrays, self._names if model is None else list(model), model or {})
        except ValueError as error:
            raise StoreError(
                f"{self._folder.last} is of another model: {error}",
                hint="Choose another folder, or start with the model that it was made of.",
            ) from None
        names = tuple(found)
        last.arrays.clear()
        start = to_record(found, keep_input=False) if isinstance(arrays, ArrayRecord) else to_parameters(found)
        self._training.resume(Checkpoint(last.server_round, last.metrics, named(start, names)))
        logger.info("the training goes on from {}, after round {}", self._folder.last, last.server_round)
        return start

    @overload
    def keep(self, strategy: Strategy) -> "KeptStrategy": ...
    @overload
    def keep(self, strategy: LegacyStrategy) -> "KeptLegacyStrategy": ...
    def keep(self, strategy: Strategy | LegacyStrategy) -> "KeptStrategy | KeptLegacyStrategy":
        """Return a strategy that does what ``strategy`` does, and saves the arrays of every round that made any.

        It must be the outermost of several: within one that adds noise, the arrays without the noise would be saved.

        Args:
            strategy: of either API. Its methods get the number of the round in the whole training.

        Raises:
            ConfigError: the strategy, the metric or the folder is none that can be kept so.
            StoreError: a file that is there is damaged.
        """
        from syft_flwr.checkpoints.strategies import keep

        kept = keep(strategy, self._training)
        self._folder.open()
        return kept
