"""The folder with the checkpoints of one training: the last file, the best file, and the metric of the best.

- ``last.safetensors`` is written first. If it is the best, ``best.safetensors`` then becomes a hard link to the same file, so
  the arrays are not written again. On a file system without hard links, it becomes a second file.
- A file contains its metrics, so a restart knows the best value.
- After a kill between these two steps, ``best.safetensors`` is too old. The next start corrects it.

Only one process and one thread may use a folder at a time.
"""

import math
from pathlib import Path

from syft_flwr.checkpoints import checkpoint_file
from syft_flwr.checkpoints.checkpoint_file import Checkpoint
from syft_flwr.errors import ConfigError
from syft_flwr.files import translate
from syft_flwr.log import logger


class CheckpointFolder:
    """Keeps the last and the best checkpoint. With ``metric`` None, it keeps the last one only."""

    def __init__(self, path: Path, metric: str | None, *, higher_is_better: bool) -> None:
        self.last = path / "last.safetensors"
        self.best = path / "best.safetensors"
        self.metric = metric
        self._sign = 1.0 if higher_is_better else -1.0
        self._opened = False
        #: The files that this package wrote, and may replace.
        self._own: set[Path] = set()
        self._rounds_done = 0
        self._to_beat: float | None = None

    @property
    def rounds_done(self) -> int:
        """Return the round of the last checkpoint, 0 if the folder has no checkpoint."""
        self.open()
        return self._rounds_done

    def open(self) -> None:
        """Create the folder and read the state from its files. Only the first call does this.

        Raises:
            StoreError: a file is damaged.
            ConfigError: the best checkpoint was chosen by another metric.
            StorageError: the folder cannot be created.
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
                    hint="Use the metric of this file, or move the file away.",
                )
            self._own.add(self.best)
        if last:
            self._own.add(self.last)
        self._opened = True
        if last and self.is_better(last):
            self._promote(checkpoint_file.read(self.last) or last)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint`` as the last one, and as the best one if its metric is better than before.

        Raises:
            StorageFullError, StorageError: it cannot be written; the old files are unchanged.
            StoreError: a file of another program has appeared in its place.
        """
        self.open()
        self._require_own(self.last)
        checkpoint_file.write(self.last, checkpoint)
        logger.debug("round {} is in {}", checkpoint.server_round, self.last)
        self._rounds_done = checkpoint.server_round
        if self.is_better(checkpoint):
            self._promote(checkpoint)

    def _promote(self, last: Checkpoint) -> None:
        self._require_own(self.best)
        if not checkpoint_file.link(self.last, self.best):
            checkpoint_file.write(self.best, last)
        self._to_beat = self.number_of(last)
        logger.info("round {} is the best so far, with {} = {}", last.server_round, self.metric, self._to_beat)

    def _require_own(self, path: Path) -> None:
        """Raise StoreError if another program wrote a file in the place of a checkpoint since the begin."""
        if path not in self._own:
            checkpoint_file.read(path, arrays=False)
            self._own.add(path)

    def is_better(self, checkpoint: Checkpoint) -> bool:
        """Return whether the metric of ``checkpoint`` is finite and better than all earlier ones."""
        number = self.number_of(checkpoint)
        if number is None or not math.isfinite(number):
            return False
        return self._to_beat is None or self._sign * number > self._sign * self._to_beat

    def number_of(self, checkpoint: Checkpoint) -> float | None:
        """Return the metric that decides about the best; None if it is missing or is not a number."""
        value = None if self.metric is None else checkpoint.metrics.get(self.metric)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
