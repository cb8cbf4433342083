"""The folder of one training's checkpoints: the last file, the best file, and the number that decides.

- ``last.safetensors`` is written first. ``best.safetensors`` is then made another name of the same file, which is not
  written again; the number that made it the best stands in it, so a restart knows what there is to beat.
- A kill between the two leaves a best that is one too old; the next start mends that.

One process at a time, one thread.
"""

import math
from pathlib import Path

from loguru import logger

from syft_flwr.checkpoints import checkpoint_file
from syft_flwr.checkpoints.checkpoint_file import Checkpoint
from syft_flwr.errors import ConfigError
from syft_flwr.files import translate


class CheckpointFolder:
    """Keeps at most two files; ``metric`` is None if there is no best."""

    def __init__(self, path: Path, metric: str | None, *, higher_is_better: bool) -> None:
        self.last = path / "last.safetensors"
        self.best = path / "best.safetensors"
        self.metric = metric
        self._sign = 1.0 if higher_is_better else -1.0
        self._opened = False
        self._rounds_done = 0
        self._to_beat: float | None = None

    @property
    def rounds_done(self) -> int:
        """The round of the last checkpoint; 0 without one."""
        self.open()
        return self._rounds_done

    def open(self) -> None:
        """Make the folder, and learn from its files what there is; the first call does it.

        Raises:
            StoreError: a file is damaged.
            ConfigError: the best was chosen by another metric.
            StorageError: the folder cannot be made.
        """
        if self._opened:
            return
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate(error, str(self.last.parent)) from error
        last = checkpoint_file.read(self.last, arrays=False)
        self._rounds_done = last.server_round if last else 0
        if self.metric is not None and (best := checkpoint_file.read(self.best, arrays=False)):
            self._to_beat = self.number_of(best)
            if self._to_beat is None:
                raise ConfigError(
                    f"metric: {self.best} was not chosen by {self.metric!r}; it has {', '.join(best.metrics) or 'none'}",
                    hint="Keep to its metric, or move the file away.",
                )
        self._opened = True
        if last and self.is_better(last):
            self._promote(checkpoint_file.read(self.last) or last)

    def write(self, checkpoint: Checkpoint) -> None:
        """Make ``checkpoint`` the last, and the best if it is.

        Raises:
            StorageFullError, StorageError: it cannot be written; what was there before still is.
        """
        self.open()
        checkpoint_file.write(self.last, checkpoint)
        logger.debug("round {} is in {}", checkpoint.server_round, self.last)
        self._rounds_done = checkpoint.server_round
        if self.is_better(checkpoint):
            self._promote(checkpoint)

    def _promote(self, last: Checkpoint) -> None:
        if not checkpoint_file.link(self.last, self.best):
            checkpoint_file.write(self.best, last)
        self._to_beat = self.number_of(last)
        logger.info("round {} is the best so far, with {} = {}", last.server_round, self.metric, self._to_beat)

    def is_better(self, checkpoint: Checkpoint) -> bool:
        """Say whether the number of ``checkpoint`` is finite and better than every one before."""
        number = self.number_of(checkpoint)
        if number is None or not math.isfinite(number):
            return False
        return self._to_beat is None or self._sign * number > self._sign * self._to_beat

    def number_of(self, checkpoint: Checkpoint) -> float | None:
        """Return the number that the best is chosen by; None if it is not there, or no number."""
        value = None if self.metric is None else checkpoint.metrics.get(self.metric)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
