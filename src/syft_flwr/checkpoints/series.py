"""The public class ``Checkpoints``: saves the global arrays of a training and starts a training from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from flwr.app import ArrayRecord
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Strategy

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
from syft_flwr.log import logger

if TYPE_CHECKING:
    from syft_flwr.checkpoints.strategies import KeptLegacyStrategy, KeptStrategy


class Checkpoints:
    """The checkpoints of one training, over any number of restarts.

    ``last.safetensors`` is written as soon as the arrays of a round are complete. Rounds are counted over all restarts, and
    their number never decreases: a new training in the folder of an older one is refused. Only one process and one thread
    may use a folder at a time.

    Args:
        folder: the folder of the files, created if it is missing. Do not use a synced folder: the files are not encrypted.
        metric: the number that decides about the best checkpoint. With :meth:`keep`, the source comes before its name:
            ``train/loss``, ``evaluate/accuracy`` (of the data owners), ``central/accuracy`` (of ``evaluate_fn``). None
            keeps no best checkpoint.
        higher_is_better: whether a larger number is better.
        names: the names of the arrays, in their order, for the older API: its parameters have no names.

    Raises:
        ConfigError: safetensors is not installed, or ``names`` are not valid.
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
        """Return the round of the last checkpoint, or 0: ``num_rounds = 100 - checkpoints.rounds_done``."""
        return self._folder.rounds_done

    def last(self) -> Checkpoint | None:
        """Return the checkpoint of the last round, or None.

        Raises:
            StoreError: the file is damaged, or this package did not write it.
        """
        return checkpoint_file.read(self._folder.last)

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best metric, or None.

        Raises:
            StoreError: the file is damaged, or this package did not write it.
        """
        return checkpoint_file.read(self._folder.best)

    def save(self, server_round: int, arrays: AnyArrays, metrics: Mapping[str, Any] | None = None) -> None:
        """Save the arrays of a round as the last checkpoint, and as the best if its metric is better than all earlier ones.

        Args:
            server_round: the round, counted over all restarts; 0 for the initial arrays.
            arrays: a record, ``Parameters``, or a mapping from names to NumPy arrays.
            metrics: metrics by name. A best checkpoint needs a finite number. Values other than
                numbers, lists of numbers and texts are not saved.

        Raises:
            ConfigError: the arrays cannot be saved, or the folder has a later round.
            StorageFullError, StorageError: the file cannot be written; the old files are unchanged.
            StoreError: an existing file is damaged.
        """
        if isinstance(server_round, bool) or not isinstance(server_round, int) or server_round < 0:
            raise ConfigError(
                f"server_round: {server_round!r} is not the number of a round", hint="Pass an int of 0 or more."
            )
        if server_round < self.rounds_done:
            raise ConfigError(
                f"round {server_round} cannot be saved: {self._folder.last} is already of round {self.rounds_done}",
                hint="Continue with the round after checkpoints.rounds_done, or choose another folder.",
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
        """Return the initial arrays: those of the last checkpoint, in the order of the model, or else ``arrays``.

        After this call, a kept strategy continues the count of rounds after :attr:`rounds_done`.

        Args:
            arrays: the initial arrays of a new training. None means that the strategy asks a client for them, as
                ``FedAvg(initial_parameters=None)`` does.

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
                f"{self._folder.last} belongs to another model: {error}",
                hint="Choose another folder, or start with the model of this checkpoint.",
            ) from None
        names = tuple(found)
        last.arrays.clear()
        start = to_record(found, keep_input=False) if isinstance(arrays, ArrayRecord) else to_parameters(found)
        self._training.resume(Checkpoint(last.server_round, last.metrics, named(start, names)))
        logger.info("the training continues from {}, after round {}", self._folder.last, last.server_round)
        return start

    @overload
    def keep(self, strategy: Strategy) -> "KeptStrategy": ...
    @overload
    def keep(self, strategy: LegacyStrategy) -> "KeptLegacyStrategy": ...
    def keep(self, strategy: Strategy | LegacyStrategy) -> "KeptStrategy | KeptLegacyStrategy":
        """Return a wrapper of ``strategy`` that saves the arrays of every round that makes any.

        It must be the outermost wrapper. Inside a wrapper that adds noise, it would save the arrays without the noise.

        Args:
            strategy: a strategy of either API. Its methods get the number of the round in the whole training.

        Raises:
            ConfigError: the strategy or the metric is not supported, or the folder has another metric.
            StoreError: an existing file is damaged.
        """
        from syft_flwr.checkpoints.strategies import keep

        kept = keep(strategy, self._training)
        self._folder.open()
        return kept
