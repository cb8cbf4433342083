"""Copies of a run's replies, kept until it ends, so that a resumed run need not ask twice.

An answer's objects belong to its data owner, who deletes them when the request is withdrawn. Before that, the aggregator
keeps them as they are, sealed: a second name for the same bytes on disk where the file system can do that. The envelope
with their keys is in the futures database.

* Nothing depends on it: what is not there, or damaged, is asked again.
* It holds at most ``limit`` bytes. What comes first is kept, because a run is taken up again from its beginning, and a later
  answer is of no use without those before it.
"""

import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from loguru import logger

from syft_flwr._messaging.kept_objects import KeptObjects
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.body import ObjectRef
from syft_flwr.errors import IntegrityError, TransportError


class KeptAnswers:
    """One run's copies, in a folder of their own. Thread-safe.

    Args:
        folder: of all runs.
        limit: bytes that it may hold.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._run: Path | None = None
        self._size = 0
        self._full = False

    def open_run(self, run: int) -> None:
        """Keep what this run is answered from now on, beside what is kept of it, and delete what is kept of others."""
        with self._lock:
            self._run = self._folder / f"{run:016x}"
            for other in self._folder.iterdir() if self._folder.is_dir() else ():
                if other != self._run:
                    shutil.rmtree(other, ignore_errors=True)
            self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._size = sum(path.stat().st_size for path in self._run.iterdir())
            self._full = False

    def keep(self, objects: Iterable[ObjectRef], folder: ObjectFolder, size: int) -> bool:
        """Keep an answer's objects; say whether all of them are kept, and its envelope may be; together ``size`` bytes."""
        with self._lock:
            if self._run is None or self._full or self._size + size > self._limit:
                self._say_full()
                return False
            self._size += size
            run = self._run
        try:
            for ref in objects:
                folder.keep(ref, run / ref.id)
        except TransportError as error:
            text = "run {} ({}): an answer of {} is not kept, and would be asked again: {}"
            logger.warning(text, int(run.name, 16), folder.names.app, folder.owner, error)
            return False
        return True

    def _say_full(self) -> None:
        if self._run is not None and not self._full:
            self._full = True
            logger.warning(
                "run {}: the journal is full ({} bytes, SYFT_FLWR_JOURNAL_LIMIT): if this run is interrupted and taken up "
                "again, what is answered from now on is asked again",
                int(self._run.name, 16),
                self._limit,
            )

    def objects_of(self, owner: str, *, encryption: bool) -> KeptObjects:
        """Return what is kept of a data owner's."""
        if self._run is None:
            raise IntegrityError("no run is open")
        return KeptObjects(self._run, owner, encryption)

    def close_run(self) -> None:
        """Delete what is kept: the run is over."""
        with self._lock:
            if self._run is not None:
                shutil.rmtree(self._run, ignore_errors=True)
                self._run = None
