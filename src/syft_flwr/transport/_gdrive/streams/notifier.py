"""Notifies the watches of this process of changed names, and downloads messages that arrived together."""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

from syft_flwr.errors import TransportError
from syft_flwr.names import in_inbox
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.download_cache import SMALL, DownloadCache
from syft_flwr.transport._gdrive.streams.turns import in_turn
from syft_flwr.transport._gdrive.streams.visible_files import VisibleFiles
from syft_flwr.transport.watch import NameWatch

#: The most messages that are downloaded in advance when many arrive together. Each owner in turn gets a place.
_MOST_AHEAD = 32


class Notifier:
    """The watches of this process. Thread-safe.

    Args:
        me: this participant's email.
        catalogue: the known files.
        files: the known files that this participant may read.
        cache: stores the downloaded messages.
        concurrency: the number of parallel downloads.
    """

    def __init__(
        self, me: str, catalogue: Catalogue, files: VisibleFiles, cache: DownloadCache, concurrency: int
    ) -> None:
        self._me = me
        self._catalogue = catalogue
        self._files = files
        self._cache = cache
        self._lock = threading.Lock()
        self._watches: list[NameWatch] = []
        self._fetching = ThreadPoolExecutor(concurrency, thread_name_prefix="drive-fetch")

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        """Return a new watch. It receives the changed names below ``prefixes`` until it is closed."""
        watch = NameWatch(prefixes, on_close=self._end)
        with self._lock:
            self._watches.append(watch)
        return watch

    def watched(self) -> list[str]:
        """Return the prefixes of all watches."""
        with self._lock:
            return [prefix for watch in self._watches for prefix in watch.prefixes]

    def tell(self, changed: Collection[str]) -> None:
        """Notify the watches of names that appeared, changed or were deleted."""
        with self._lock:
            watches = list(self._watches)
        if len(changed) > 1 and watches:
            self._fetch(changed)
        for name in changed:
            for watch in watches:
                watch.notify(name)

    def close(self) -> None:
        """Wait for the running downloads, and cancel the others."""
        self._fetching.shutdown(cancel_futures=True)

    def _end(self, watch: NameWatch) -> None:
        with self._lock:
            self._watches.remove(watch)

    def _fetch(self, names: Collection[str]) -> None:
        """Start parallel downloads of these messages. Their readers would download them one by one."""
        found = (self._catalogue.get(name) for name in names if in_inbox(name))
        wanted = (file for file in found if file and file.owner != self._me and self._files.counts(file))
        small = [file for file in wanted if file.size <= SMALL]
        for file in islice(in_turn(small, lambda file: file.owner), _MOST_AHEAD):
            self._fetching.submit(self._fetch_one, file)

    def _fetch_one(self, file: DriveFile) -> None:
        # The reader of the file gets the same error, and can handle it.
        with suppress(TransportError):
            self._cache.read(file)
