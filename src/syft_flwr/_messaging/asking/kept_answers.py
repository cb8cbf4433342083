"""Keeps copies of the replies of a run until the run ends, so that a resumed run does not request them again.

The objects of a reply belong to the data owner, who deletes them when the request is withdrawn. Before that, the
aggregator keeps the sealed files, as hard links if the file system supports them. The envelope with their keys is in
the futures database.

* Each reply has a folder of its own. A data owner chooses the ids of its objects, so it can use an id of another one.
* A missing or damaged copy is not an error: a resumed run requests this reply again.
* A data owner can still write to a file with a hard link. So the database has a digest of what arrived first.
* The copies have at most ``limit`` bytes, and half of the space that is free at the begin. The earliest replies are kept,
  because a resumed run starts from the beginning and can use a later reply only together with the earlier ones.
"""

import re
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from syft_flwr import files
from syft_flwr._messaging.kept_objects import KeptObjects
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.body import ObjectRef
from syft_flwr.errors import IntegrityError, StorageError, TransportError
from syft_flwr.log import logger
from syft_flwr.private_files import make_private_folder
from syft_flwr.shares import leaves_shares

_RUN = re.compile(r"[0-9a-f]{16}")


class KeptAnswers:
    """The kept replies of one run. Thread-safe.

    Args:
        folder: the folder with one subfolder for each run.
        limit: the most bytes to keep (the setting ``journal_limit``).
        owners: the number of data owners. Half of the limit is reserved for them in equal shares, so that the replies of
            one leave room for those of the others.
    """

    def __init__(self, folder: Path, limit: int, owners: int = 1) -> None:
        self._folder = folder
        self._limit = limit
        self._owners = owners
        self._lock = threading.Lock()
        self._run: Path | None = None
        self._size = 0
        #: The most bytes in this run, and those that are reserved for each data owner.
        self._most = self._share = 0
        #: The kept bytes by data owner, and those of each one from an earlier process, about.
        self._sizes: Counter[str] = Counter()
        self._before = 0
        #: The data owners of which no later reply is kept.
        self._full: set[str] = set()

    def open_run(self, run: int) -> None:
        """Keep the replies of ``run`` from now on, and delete the kept replies of other runs."""
        with self._lock:
            self._run = self._folder / f"{run:016x}"
            for other in folders_of_runs(self._folder):
                if other != self._run:
                    shutil.rmtree(other, ignore_errors=True)
            make_private_folder(self._run)
            self._size = sum(path.stat().st_size for path in self._run.rglob("*") if path.is_file())
            self._most = min(self._limit, self._size + shutil.disk_usage(self._run).free // 2)
            self._share = self._most // (2 * max(1, self._owners))
            self._before = self._size // max(1, self._owners)
            self._sizes.clear()
            self._full.clear()

    def keep(self, message_id: str, objects: Sequence[ObjectRef], folder: ObjectFolder, size: int) -> bool:
        """Keep the objects of the reply to a request; return whether all are kept, so that its envelope may be kept, too.

        ``size`` is the size of the envelope and the objects in bytes.
        """
        with self._lock:
            if self._run is None or folder.owner in self._full or not self._fits(folder.owner, size):
                self._say_full(folder.owner)
                return False
            self._size += size
            self._sizes[folder.owner] += size
            run = self._run
        try:
            if objects:
                _make(run / message_id)
            for ref in objects:
                folder.keep(ref, run / message_id / ref.id)
        except (TransportError, StorageError) as error:
            text = "run {} ({}): a reply of {} cannot be kept; if the run is resumed, it is requested again: {}"
            logger.warning(text, int(run.name, 16), folder.names.app, folder.owner, error.diagnose())
            return False
        return True

    def _fits(self, owner: str, size: int) -> bool:
        """Return whether a reply leaves the others the unused part of their shares."""
        others = [self._before + used for other, used in self._sizes.items() if other != owner]
        others += [self._before] * (self._owners - 1 - len(others))
        return leaves_shares(size, free=self._most - self._size, share=self._share, others=others)

    def _say_full(self, owner: str) -> None:
        if self._run is None:
            return
        is_first = not self._full
        self._full.add(owner)
        if is_first:
            logger.warning(
                "run {}: the kept replies have reached their limit, {} bytes with a share for each data owner. If this run is resumed,"
                " later replies are requested again. To keep more, raise SYFT_FLWR_JOURNAL_LIMIT, or free disk space.",
                int(self._run.name, 16),
                self._most,
            )

    def objects_of(self, message_id: str, owner: str, *, encryption: bool) -> KeptObjects:
        """Return the kept objects of the reply of a data owner to a request.

        Raises:
            IntegrityError: no run is open.
        """
        if self._run is None:
            raise IntegrityError("no run is open")
        return KeptObjects(self._run / message_id, owner, encryption)

    def close_run(self) -> None:
        """Delete the kept replies, because the run has ended."""
        with self._lock:
            if self._run is not None:
                shutil.rmtree(self._run, ignore_errors=True)
                self._run = None


def folders_of_runs(folder: Path) -> list[Path]:
    """Return the folders with the kept replies of runs. Links, their files and other files are not ours."""
    found = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    return [path for path in found if _RUN.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _make(folder: Path) -> None:
    try:
        make_private_folder(folder)
    except OSError as error:
        raise files.translate(error, "the folder of a kept reply") from error
