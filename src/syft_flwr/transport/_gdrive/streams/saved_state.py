"""The recorded state of the streams that a process writes, and its lock as the only writer.

Two writers of one stream would give out the same positions. So each process takes the first slot of its account that no
other holds, and writes the streams of that slot alone; the kernel takes the claim back however the process ends.
"""

import os
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.errors import HOME_HINT, NotFoundError, TooLargeError, TransportError
from syft_flwr.locks import lock_first_free
from syft_flwr.transport._disk import read_bounded, write_private

_MAX_STATE = 64 << 20
_MOST_SLOTS = 100


class UploadState(BaseModel):
    """A large file on its way: what it is, and where it goes, so that another process can go on with it."""

    model_config = ConfigDict(extra="forbid")

    md5: str
    position: int
    id: str
    low: int


class StreamState(BaseModel):
    """One stream of ours."""

    model_config = ConfigDict(extra="forbid")

    folder: str
    #: The folder exists, and everybody who may read it was told so.
    ready: bool = False
    #: Who was told, as long as not everybody was.
    shared: list[str] = []
    #: The first position that was never given out. Recorded before it is.
    next: int = Field(default=0, ge=0)
    #: By the name of the file.
    uploads: dict[str, UploadState] = {}


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account: str
    #: By the digest of those who may read the stream.
    streams: dict[str, StreamState] = {}
    #: Files that nobody needs any more and that are not deleted yet, by id: their folders.
    deletions: dict[str, str] = {}


class SavedState:
    """One process's streams. Hold ``lock`` from a change until it is saved.

    Args:
        folder: of the account's state on this machine.
        account: the email.

    Raises:
        TransportError: the state cannot be used.
    """

    def __init__(self, folder: Path, account: str) -> None:
        try:
            # One by one: with ``parents``, only the last would get the mode.
            for path in (folder.parent, folder):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            claimed = lock_first_free(folder / f"streams-{number}.lock" for number in range(_MOST_SLOTS))
        except OSError as error:
            raise TransportError(
                f"{folder} cannot be used: {error.strerror}",
                hint=HOME_HINT,
            ) from error
        if claimed is None:
            raise TransportError(f"{_MOST_SLOTS} processes of this participant run at once")
        self._fd, lock = claimed
        self._path = lock.with_suffix(".json")
        self.lock = threading.Lock()
        self._state = self._read(account)

    @property
    def streams(self) -> dict[str, StreamState]:
        """The streams, by the digest of their readers; :meth:`save` what was changed."""
        return self._state.streams

    @property
    def deletions(self) -> dict[str, str]:
        """The folders of files that are to be deleted, by the files' ids; :meth:`save` what was changed."""
        return self._state.deletions

    def save(self) -> None:
        """Record the state, before anything follows from it."""
        write_private(self._path, self._state.model_dump_json(indent=1).encode())

    def close(self) -> None:
        """Give the slot back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self, account: str) -> _State:
        try:
            state = _State.model_validate_json(read_bounded(self._path, _MAX_STATE))
        except NotFoundError:
            return _State(account=account)
        except (ValidationError, TooLargeError) as error:
            self.close()
            raise TransportError(
                f"{self._path} is damaged",
                hint="Move it away: the folders in Drive are made anew, and found by the peers.",
            ) from error
        # Another account was logged in; its folders are none of ours.
        return state if state.account == account else _State(account=account)
