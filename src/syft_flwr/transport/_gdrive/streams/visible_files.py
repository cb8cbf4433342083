"""The known files that this participant may read, and their content.

A peer's file in this participant's datasite counts only if it is in an opened inbox.
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

#: How often a file is read again if it is replaced during the read.
_ATTEMPTS = 20


class VisibleFiles:
    """The readable files of the catalogue. Thread-safe.

    Args:
        me: this participant's email.
        catalogue: the known files.
        cache: downloads their content.
    """

    def __init__(self, me: str, catalogue: Catalogue, cache: DownloadCache) -> None:
        self._me = me
        self._catalogue = catalogue
        self._cache = cache
        self._inboxes: frozenset[str] = frozenset()

    def open_inbox(self, folder: str) -> None:
        """Accept the files of peers below ``folder``, which ends in ``/``."""
        self._inboxes |= {folder}

    def counts(self, file: DriveFile) -> bool:
        """Return whether a file has content and is readable here.

        A peer's file in this participant's datasite must be in an opened inbox.
        """
        mine = file.name.startswith(f"{self._me}/")
        return file.size > 0 and (file.owner == self._me or not mine or is_below(file.name, self._inboxes))

    def below(self, prefix: str) -> Iterator[DriveFile]:
        """Iterate over the readable files with names that begin with ``prefix``."""
        return filter(self.counts, self._catalogue.below(prefix))

    def open(self, file: DriveFile, max_size: int) -> BinaryIO:
        """Open the present content of a file.

        Raises:
            NotFoundError: the file has another name or owner now, or was replaced during each attempt.
            TooLargeError: the file now has more than ``max_size`` bytes.
        """
        name, owner = file.name, file.owner
        for _ in range(_ATTEMPTS):
            try:
                return self._cache.open(file)
            except ReplacedError as error:
                file = error.file
                # A poll may have recorded this change already; that is harmless.
                self._catalogue.renew(file)
                if (file.name, file.owner) != (name, owner):
                    raise NotFoundError(f"{name} is not there") from error
                bounded(file, max_size)
        raise NotFoundError(f"{name} was replaced during {_ATTEMPTS} attempts to read it", hint="Try again later.")

    def keep(self, file: DriveFile, path: Path, max_size: int) -> None:
        """Write the present content of a file to ``path``; raise the same errors as :meth:`open`."""
        with self.open(file, max_size) as content:
            try:
                # Test the type and not ``file.size``: the file may have been replaced by one of another size.
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
    """Return ``file``; raise a TooLargeError if it has more than ``max_size`` bytes."""
    if file.size > max_size:
        raise TooLargeError(f"{file.name} has {file.size} bytes; at most {max_size} are accepted")
    return file
