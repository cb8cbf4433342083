"""Reads the objects of a peer that this participant keeps on its own disk, as hard links or copies."""

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
    """The kept objects of one reply of ``owner``, in one folder."""

    folder: Path
    owner: str
    encryption: bool

    def missing(self, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
        """Return an empty list. A lost object cannot arrive again, so :meth:`open` raises for it."""
        del objects
        return []

    def open(self, ref: ObjectRef) -> AbstractContextManager[BinaryIO]:
        """Open the file of an object; IntegrityError if it is missing or has another size."""
        size = segments.sealed_size(ref.size) if self.encryption else ref.size
        try:
            with open_folder(self.folder, ()) as folder:
                fd, found = open_in_folder(folder, ref.id, max_size=size)
        except StorageError as error:
            raise IntegrityError(f"the kept copy of object {ref.id} of {self.owner} cannot be read") from error
        if found != size:
            os.close(fd)
            text = f"the kept copy of object {ref.id} of {self.owner} has {found} bytes instead of {size}"
            raise IntegrityError(text)
        return os.fdopen(fd, "rb")

    def distrust(self, ref: ObjectRef) -> bool:
        """Return False: there is one copy of an object."""
        del ref
        return False
