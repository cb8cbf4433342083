"""Follows a wrapped strategy over its rounds: saves the arrays of each round and adds the metrics that come later.

The arrays of a round are saved at once. The metrics of its evaluation come later. If they make it the best round, the file
is written again with these metrics. Until then this module keeps the arrays in memory, as views of Flower's own bytes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syft_flwr.checkpoints.arrays import AnyArrays, named
from syft_flwr.checkpoints.checkpoint_file import Checkpoint, MetricValue
from syft_flwr.checkpoints.folder import CheckpointFolder
from syft_flwr.errors import ConfigError
from syft_flwr.log import logger

#: Sources of the metrics of a wrapped strategy: the first part of their names.
TRAIN, EVALUATE, CENTRAL = "train", "evaluate", "central"


class Training:
    """One training over all restarts. Flower itself counts rounds from 1 at each start."""

    def __init__(self, folder: CheckpointFolder, names: tuple[str, ...] | None) -> None:
        self.folder = folder
        self.names = names
        #: Added to Flower's number of a round.
        self.offset = 0
        #: The last saved checkpoint, until its metric is known.
        self._unjudged: Checkpoint | None = None
        self._warned = False

    def resume(self, last: Checkpoint | None) -> None:
        """Continue after ``last``, the last saved checkpoint. A crash may have prevented its evaluation."""
        self.offset = 0 if last is None else last.server_round
        self._remember(last)

    def begin_round(self, server_round: int, arrays: AnyArrays) -> int:
        """Return the number of the round in this training, after a check that its arrays can be saved.

        The check comes before the round, so that the work of a round is not lost.

        Raises:
            ConfigError: the folder has this round or a later one, or ``arrays`` cannot be saved.
        """
        number = server_round + self.offset
        if number <= self.folder.rounds_done:
            raise ConfigError(
                f"{self.folder.last} is already of round {self.folder.rounds_done}; this training would overwrite it "
                f"with round {number}",
                hint="Start from checkpoints.initial(…), or choose another folder for a new training.",
            )
        if server_round == 1:
            named(arrays, self.names)
        return number

    def add_arrays(self, number: int, arrays: AnyArrays, metrics: Mapping[str, Any]) -> None:
        """Save the arrays and the metrics of the round ``number``."""
        self.finish()
        self.save(Checkpoint(number, plain(TRAIN, metrics), named(arrays, self.names)))

    def add_metrics(self, source: str, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of an evaluation to the latest arrays; save them again if they are now the best.

        The evaluation may belong to a later round: a round that made no arrays is evaluated with the arrays before it.
        """
        if self._unjudged is None:
            return
        known = replace(self._unjudged, metrics=self._unjudged.metrics | plain(source, metrics))
        if self.folder.is_better(known):
            self.folder.write(known)
        self._remember(known)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint``, and remember it until its metric is known."""
        self.folder.write(checkpoint)
        self._remember(checkpoint)

    def finish(self) -> None:
        """Stop the wait for metrics of the latest arrays. Log a warning once if the deciding metric is missing."""
        latest, self._unjudged = self._unjudged, None
        if latest is None or self._warned:
            return
        self._warned = True
        logger.warning(
            "round {} has no number {!r}, only {}: it is saved as the last checkpoint and cannot become the best. Correct "
            "the metric of Checkpoints if you need the best. This warning is logged once",
            latest.server_round,
            self.folder.metric,
            ", ".join(latest.metrics) or "none",
        )

    def _remember(self, last: Checkpoint | None) -> None:
        judged = last is None or self.folder.metric is None or self.folder.number_of(last) is not None
        self._unjudged = None if judged else last


def plain(source: str, metrics: Mapping[str, Any]) -> dict[str, MetricValue]:
    """Return the metrics that can be saved (numbers, lists of numbers, texts), with ``source/`` before their names."""
    found: dict[str, MetricValue] = {}
    for name, value in metrics.items():
        # tolist() turns numbers and arrays of NumPy into those of Python.
        value = value.tolist() if hasattr(value, "tolist") else value  # noqa: PLW2901 - the same value
        if isinstance(value, (int, float, str)) or (isinstance(value, list) and all(map(_is_number, value))):
            found[f"{source}/{name}" if source else str(name)] = value
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
