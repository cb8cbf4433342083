"""Objects of a peer that this participant keeps on its own disk, as second names or copies of the files."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from syft_flwr._crypto import segments
from syft_flwr._messaging.wire.body import ObjectRef
from syft_flwr.errors import IntegrityError, StorageError
from syft_flwr.files import open_folder, open_in_folder


@dataclass(frozen=True, slots=True)
class KeptObjects:
    """Kept objects of ``owner``, in one folder."""

    folder: Path
    owner: str
    encryption: bool

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return nothing: an object that is gone stays so, and :meth:`open` raises for it."""
        del objects
        return []

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open an object; IntegrityError if it is not there as it was."""
        size = segments.sealed_size(ref.size) if self.encryption else ref.size
        try:
            with open_folder(self.folder, ()) as folder:
                fd, found = open_in_folder(folder, ref.id, max_size=size)
        except StorageError as error:
            raise IntegrityError(f"object {ref.id} is no longer kept as it was") from error
        if found != size:
            os.close(fd)
            raise IntegrityError(f"object {ref.id} is kept with {found} bytes instead of {size}")
        return os.fdopen(fd, "rb")
