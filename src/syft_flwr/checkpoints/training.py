"""Follows a strategy that ``Checkpoints.keep`` wrapped: which metrics it reports, and when its arrays are saved.

The arrays of a round are saved at once. The numbers of its evaluation come later, maybe much later: if they make it the
best, the file is written once more, with them in it. Until then the arrays are remembered, as views of what Flower holds
anyway.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loguru import logger

from syft_flwr.checkpoints.arrays import AnyArrays, named
from syft_flwr.checkpoints.checkpoint_file import Checkpoint, MetricValue
from syft_flwr.checkpoints.folder import CheckpointFolder
from syft_flwr.errors import ConfigError

#: Where the metrics of a kept strategy come from: the first part of their names.
TRAIN, EVALUATE, CENTRAL = "train", "evaluate", "central"


class Training:
    """One training, from its first round over all restarts. Flower's own numbers begin with 1 at each start."""

    def __init__(self, folder: CheckpointFolder, names: tuple[str, ...] | None) -> None:
        self.folder = folder
        self.names = names
        #: What is added to Flower's number of a round.
        self.offset = 0
        #: What lies in the folder, as long as its metric may still come.
        self._unjudged: Checkpoint | None = None
        self._warned = False

    def resume(self, last: Checkpoint | None) -> None:
        """Go on after ``last``, as it lies in the folder; its evaluation may have been cut off by what ended the run."""
        self.offset = 0 if last is None else last.server_round
        self._remember(last)

    def begin_round(self, server_round: int, arrays: AnyArrays) -> int:
        """Return the round's number in this training; refuse before the round what could not be saved after it.

        Raises:
            ConfigError: the folder has a later round, or ``arrays`` cannot be saved.
        """
        number = server_round + self.offset
        if number <= self.folder.rounds_done:
            raise ConfigError(
                f"{self.folder.last} is of round {self.folder.rounds_done}, and a training would write round {number} over it",
                hint="Start from checkpoints.initial(…), or choose another folder for a new training.",
            )
        if server_round == 1:
            named(arrays, self.names)
        return number

    def add_arrays(self, number: int, arrays: AnyArrays, metrics: Mapping[str, Any]) -> None:
        """Save what the round ``number`` made."""
        self.finish()
        self.save(Checkpoint(number, plain(TRAIN, metrics), named(arrays, self.names)))

    def add_metrics(self, source: str, metrics: Mapping[str, Any]) -> None:
        """Note what an evaluation found of the latest arrays; save them again if that makes them the best.

        It may be of a later round than they are: one that made no arrays is evaluated with those of the round before.
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
        """No more metrics come for the latest arrays: say so if the one that matters did not."""
        latest, self._unjudged = self._unjudged, None
        if latest is None or self._warned:
            return
        self._warned = True
        logger.warning(
            "round {} has no number {!r}, only {}; it is the last checkpoint, and the best stays as it is. This is said once",
            latest.server_round,
            self.folder.metric,
            ", ".join(latest.metrics) or "none",
        )

    def _remember(self, last: Checkpoint | None) -> None:
        judged = last is None or self.folder.metric is None or self.folder.number_of(last) is not None
        self._unjudged = None if judged else last


def plain(source: str, metrics: Mapping[str, Any]) -> dict[str, MetricValue]:
    """Return what of ``metrics`` can be written as text: numbers, lists of them, texts; with ``source/`` before the names."""
    found: dict[str, MetricValue] = {}
    for name, value in metrics.items():
        # NumPy's numbers and arrays have it, and return Python's.
        value = value.tolist() if hasattr(value, "tolist") else value  # noqa: PLW2901 - the same value
        if isinstance(value, (int, float, str)) or (isinstance(value, list) and all(map(_is_number, value))):
            found[f"{source}/{name}" if source else str(name)] = value
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
