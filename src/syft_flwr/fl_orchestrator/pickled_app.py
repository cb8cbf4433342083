"""The pickle of a ClientApp from a notebook or a script, in a private file, for each worker that starts.

The file is in the home of the data owner and has no name, so it disappears with this process. An app can refer to gigabytes of
data: a copy in memory would double them for as long as the client serves.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syft_flwr.errors import HOME_HINT, StoreError
from syft_flwr.log import logger

#: Above this size, a warning tells that the app refers to much data.
LARGE = 64 << 20
_CHUNK = 1 << 20


class PickledApp:
    """A pickled app. :meth:`make` creates it.

    Args:
        folder: the private folder for the file.

    Raises:
        StoreError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - close() closes it
        except OSError as error:
            raise self._unwritable(error) from error
        self.size = 0

    @classmethod
    def make(cls, app: Any, folder: Path) -> "PickledApp | None":
        """Return the pickle of an app; None, with a warning, if it cannot be pickled.

        Raises:
            StoreError: the file cannot be written.
        """
        import cloudpickle

        made = cls(folder)
        try:
            cloudpickle.dump(app, made)
        except StoreError:
            made.close()
            raise
        except Exception as error:  # noqa: BLE001 - pickling runs code of the app's objects
            made.close()
            logger.warning(
                "the ClientApp cannot be sent to a worker process ({}: {}), so it runs in the process of the client: if it "
                "crashes, the client ends, and a stop waits for its current message. To avoid this, pass a reference "
                "'module:app'",
                type(error).__name__,
                error,
            )
            return None
        if made.size > LARGE:
            logger.warning(
                "the ClientApp refers to {} MB of data, which each new worker gets again; load the data in a function of the "
                "app, from a file",
                made.size // 1_000_000,
            )
        return made

    def write(self, data: Any) -> int:
        """Append bytes, as the pickler asks."""
        view = memoryview(data).cast("B")
        try:
            at = 0
            while at < len(view):
                at += os.pwrite(self._file.fileno(), view[at:], self.size + at)
        except OSError as error:
            raise self._unwritable(error) from error
        self.size += len(view)
        return len(view)

    def chunks(self) -> Iterator[bytes]:
        """Yield the pickle in parts. Several threads may read at once."""
        for start in range(0, self.size, _CHUNK):
            yield os.pread(self._file.fileno(), min(_CHUNK, self.size - start), start)

    def close(self) -> None:
        self._file.close()

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"the ClientApp cannot be stored in {self._folder}: {error.strerror}", hint=HOME_HINT)
