"""The known files that this participant may read, and their content.

A peer's file in an inbox of this participant counts only if the inbox was opened.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from syft_flwr.errors import NotFoundError, TooLargeError
from syft_flwr.names import is_below
from syft_flwr.transport._disk import keep_file, open_folder, translate, write_in_folder
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, ReplacedError
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.download_cache import DownloadCache

#: A file that is replaced while it is read is read again, so often.
_ATTEMPTS = 20


class VisibleFiles:
    """Thread-safe.

    Args:
        me: this participant's email.
        catalogue: the known files.
        cache: downloads them.
    """

    def __init__(self, me: str, catalogue: Catalogue, cache: DownloadCache) -> None:
        self._me = me
        self._catalogue = catalogue
        self._cache = cache
        self._inboxes: frozenset[str] = frozenset()

    def open_inbox(self, folder: str) -> None:
        """Count the files of peers below ``folder``, which ends in ``/``."""
        self._inboxes |= {folder}

    def counts(self, file: DriveFile) -> bool:
        """Return whether a file has content and may stand where its name says."""
        mine = file.name.startswith(f"{self._me}/")
        return file.size > 0 and (file.owner == self._me or not mine or is_below(file.name, self._inboxes))

    def below(self, prefix: str) -> Iterator[DriveFile]:
        """Iterate over the files whose names begin with ``prefix``."""
        return filter(self.counts, self._catalogue.below(prefix))

    def open(self, file: DriveFile, max_size: int) -> BinaryIO:
        """Open the present content of a file.

        Raises:
            NotFoundError: it has another name or owner now, or is replaced too often.
            TooLargeError: it is larger than ``max_size`` bytes now.
        """
        name, owner = file.name, file.owner
        for _ in range(_ATTEMPTS):
            try:
                return self._cache.open(file)
            except ReplacedError as error:
                file = error.file
                # A poll may have noted it already.
                self._catalogue.renew(file)
                if (file.name, file.owner) != (name, owner):
                    raise NotFoundError(f"{name} is not there") from error
                bounded(file, max_size)
        raise NotFoundError(f"{name} is replaced again and again; it can be read later")

    def keep(self, file: DriveFile, path: Path, max_size: int) -> None:
        """Make ``path`` hold the present content of a file; raises as :meth:`open` does."""
        with self.open(file, max_size) as content:
            try:
                # It may have been replaced, and be of another size now.
                if not isinstance(content, io.BytesIO):
                    held = Path(content.name)
                    with open_folder(held.parent, ()) as folder:
                        keep_file(content, folder, held.name, path)
                else:
                    with open_folder(path.parent, ()) as folder:
                        write_in_folder(folder, path.name, content.read(), mode=0o600)
            except OSError as error:
                raise translate(error, file.name) from error


def bounded(file: DriveFile, max_size: int) -> DriveFile:
    """Return ``file``; TooLargeError if it has more than ``max_size`` bytes."""
    if file.size > max_size:
        raise TooLargeError(f"{file.name} has {file.size} bytes; at most {max_size} are accepted")
    return file
