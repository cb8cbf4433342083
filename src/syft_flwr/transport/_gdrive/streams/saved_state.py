"""The recorded state of the streams that a process writes, and the lock that makes it their only writer.

Two writers of one stream would use the same positions twice. So each process locks the first free slot of its account, and
writes only the streams of that slot. The kernel releases the lock when the process ends for any reason.
"""

import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.errors import HOME_HINT, NotFoundError, TooLargeError, TransportError
from syft_flwr.forks import close_in_children, close_now, without_fork
from syft_flwr.locks import lock_first_free
from syft_flwr.private_files import make_private_folder
from syft_flwr.transport._disk import read_bounded, write_private

_MAX_STATE = 64 << 20
_MOST_SLOTS = 100


class UploadState(BaseModel):
    """An unfinished upload of a large file: its MD5 and its place, so that another process can continue it."""

    model_config = ConfigDict(extra="forbid")

    md5: str
    position: int
    id: str
    low: int


class StreamState(BaseModel):
    """The recorded state of one stream."""

    model_config = ConfigDict(extra="forbid")

    folder: str
    #: The folder exists and is shared with all its readers.
    ready: bool = False
    #: The readers that already have access, until the folder is ready.
    shared: list[str] = []
    #: The first position that was never reserved. Recorded before each use of a position.
    next: int = Field(default=0, ge=0)
    #: The unfinished uploads by the name of the file.
    uploads: dict[str, UploadState] = {}


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account: str
    #: The streams by the digest of their readers.
    streams: dict[str, StreamState] = {}
    #: The files that wait for their deletion: the id of the folder by the id of the file.
    deletions: dict[str, str] = {}


class SavedState:
    """The recorded streams of one process. Hold ``lock`` from a change until it is saved.

    Args:
        folder: the folder of the account's state on this machine.
        account: the email of the account.

    Raises:
        TransportError: the folder cannot be used, all slots are locked, or the state file is damaged.
    """

    def __init__(self, folder: Path, account: str) -> None:
        try:
            make_private_folder(folder)
            claimed = lock_first_free(folder / f"streams-{number}.lock" for number in range(_MOST_SLOTS))
        except OSError as error:
            raise TransportError(
                f"{folder} cannot be used: {error.strerror}",
                hint=HOME_HINT,
            ) from error
        if claimed is None:
            text = f"{_MOST_SLOTS} processes of this participant run at the same time"
            raise TransportError(text, hint="Stop one of them, then start again.")
        self._fd, lock = claimed
        close_in_children(self)
        self._path = lock.with_suffix(".json")
        self.lock = threading.Lock()
        self._state = self._read(account)

    @property
    def streams(self) -> dict[str, StreamState]:
        """Return the streams by the digest of their readers. Call :meth:`save` after a change."""
        return self._state.streams

    @property
    def deletions(self) -> dict[str, str]:
        """Return the files to delete: folder ids by file ids. Call :meth:`save` after a change."""
        return self._state.deletions

    def save(self) -> None:
        """Write the state to disk. Call this before the changes have an effect in Drive."""
        write_private(self._path, self._state.model_dump_json(indent=1).encode())

    def close(self) -> None:
        """Release the slot. A second call does nothing."""
        with without_fork():
            self._fd = close_now(self._fd)

    def close_in_child(self) -> None:
        """Close the lock in a forked child; the parent still has the slot."""
        self._fd = close_now(self._fd)

    def _read(self, account: str) -> _State:
        try:
            state = _State.model_validate_json(read_bounded(self._path, _MAX_STATE))
        except NotFoundError:
            return _State(account=account)
        except (ValidationError, TooLargeError) as error:
            self.close()
            raise TransportError(
                f"{self._path} is damaged",
                hint="Move the file away, then start again. The process creates new Drive folders, and the peers find them.",
            ) from error
        # The file describes the folders of another account, so ignore it.
        return state if state.account == account else _State(account=account)
