"""Records the running uploads, so that another process can continue them.

A record holds the address of an upload session. The address gives write access to that file, so only this user can read
the record. A session lasts a week; a record is used for six days.
"""

import contextlib
import json
from datetime import datetime, timedelta
from pathlib import Path

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.errors import TransportError
from syft_flwr.private_files import make_private_folder
from syft_flwr.transport._disk import read_bounded, translate, write_private
from syft_flwr.transport._gdrive.api.drive_file import check_id, is_id

MAX_AGE = timedelta(days=6)
_MAX_ENTRY = 16 << 10


class UploadSessions:
    """A private folder with one small file for each running upload. Thread-safe, as each file has only one upload.

    Raises:
        TransportError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        try:
            make_private_folder(folder)
            for path in folder.glob("*.json"):
                if is_id(path.stem) and self._read(path) is None:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise translate(error, f"the folder {folder.name}") from error

    def load(self, file_id: str, *, md5: str, size: int) -> str | None:
        """Return the address of the session for this file id and content; None if no valid one is recorded."""
        entry = self._read(self._path(file_id))
        if entry is None or (entry.get("md5"), entry.get("size")) != (md5, size):
            return None
        session = entry.get("session")
        return session if isinstance(session, str) else None

    def save(self, file_id: str, session: str, *, md5: str, size: int) -> None:
        """Record a session. The caller does this before it sends the first byte."""
        entry = {"session": session, "md5": md5, "size": size, "started": self._clock.now().isoformat()}
        write_private(self._path(file_id), json.dumps(entry).encode())

    def drop(self, file_id: str) -> None:
        """Delete the record of an upload that is complete, or that has lost its session."""
        self._path(file_id).unlink(missing_ok=True)

    def _path(self, file_id: str) -> Path:
        return self._folder / f"{check_id(file_id)}.json"

    def _read(self, path: Path) -> dict[str, object] | None:
        with contextlib.suppress(TransportError, ValueError, TypeError, KeyError, RecursionError):
            entry = json.loads(read_bounded(path, _MAX_ENTRY))
            age = self._clock.now() - datetime.fromisoformat(entry["started"])
            # The age is negative if the clock was set back.
            if isinstance(entry, dict) and abs(age) < MAX_AGE:
                return entry
        return None
