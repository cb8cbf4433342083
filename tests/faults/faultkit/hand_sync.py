"""A data folder for each participant, and a sync service between them that gives up the files that a test chooses."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from faultkit.storage import POLL_INTERVAL
from waiting import eventually

from syft_flwr.errors import NotFoundError
from syft_flwr.names import is_valid_name, writer_of
from syft_flwr.transport.base import Properties
from syft_flwr.transport.syftbox import SyftBoxTransport


class PartsTransport(SyftBoxTransport):
    """A SyftBox transport with small objects, which all go with the scan."""

    def __init__(self, data_dir: Path, email: str, *, poll_interval: float, part_size: int = 10_000) -> None:
        super().__init__(data_dir, email, poll_interval=poll_interval)
        self._part_size = part_size

    @property
    def properties(self) -> Properties:
        small = {
            "part_size": self._part_size,
            "inline_size": 32 << 10,
            "pushed_size": 0,
            "pushed_message": 0,
            "probe_size": 0,
        }
        return replace(super().properties, **small)


class HandSync:
    """The data folders, and a thread that copies and deletes files as their writers did."""

    workers = False
    absence_withdraws = False

    def __init__(self, root: Path, *emails: str) -> None:
        self._root = root
        self._emails = emails
        #: Returns whether the sync service has given up the file of this name.
        self.gave_up: Callable[[str], bool] = lambda _: False
        #: For each copied file, by participant and name, the identity of the source.
        self._copied: dict[tuple[str, str], tuple[int, int]] = {}
        self._passes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hand sync", daemon=True)

    def __enter__(self) -> "HandSync":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def open(self, email: str) -> PartsTransport:
        return PartsTransport(self.folder_of(email), email, poll_interval=POLL_INTERVAL)

    def folder_of(self, email: str) -> Path:
        """Return the data folder of a participant."""
        return self._root / email

    def names(self, email: str) -> list[str]:
        """Return the names of all files in the folder of a participant."""
        return sorted(self._files(email))

    def settle(self) -> None:
        """Wait until each participant can see all earlier changes."""
        passes = self._passes
        eventually(lambda: self._passes > passes + 1, "two passes of the hand sync")

    def read(self, name: str, email: str = "") -> bytes:
        """Return the content of a file at its writer or at ``email``, or empty bytes if the file does not exist."""
        with contextlib.suppress(FileNotFoundError):
            return self._path(email or writer_of(name), name).read_bytes()
        return b""

    def objects(self, owner: str, email: str = "") -> list[str]:
        """Return the names of the objects of an owner, at the owner or at ``email``."""
        return [name for name in self.names(email or owner) if name.startswith(f"{owner}/") and "/objects/" in name]

    def _path(self, email: str, name: str) -> Path:
        return self._root / email / "datasites" / name

    def _files(self, email: str) -> Iterator[str]:
        root = self._root / email / "datasites"
        # Not rglob, which fails when a folder is deleted during the call.
        for folder, _, leaves in os.walk(root):
            for leaf in leaves:
                name = str(Path(folder, leaf).relative_to(root))
                if is_valid_name(name) and not leaf.startswith("syft.pub"):
                    yield name

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            for email in self._emails:
                # A file that its writer replaces or deletes in this moment is copied next time.
                with contextlib.suppress(FileNotFoundError, NotFoundError):
                    self._carry(email)
            self._passes += 1

    def _carry(self, writer: str) -> None:
        own = {name for name in self._files(writer) if writer_of(name) == writer}
        for email in self._emails:
            if email == writer:
                continue
            for name in own:
                if not self.gave_up(name):
                    self._copy(writer, email, name)
            for name in [name for name in self._files(email) if writer_of(name) == writer and name not in own]:
                self._path(email, name).unlink(missing_ok=True)
                self._copied.pop((email, name), None)

    def _copy(self, writer: str, email: str, name: str) -> None:
        source, target = self._path(writer, name), self._path(email, name)
        status = source.stat()
        found = (status.st_ino, status.st_mtime_ns)
        if self._copied.get((email, name)) == found:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        arriving = self._root / email / "arriving"
        arriving.write_bytes(source.read_bytes())
        arriving.replace(target)
        self._copied[email, name] = found
