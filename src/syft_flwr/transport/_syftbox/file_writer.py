"""Writes files into the synced folders, each completely or not at all, at the pace of the SyftBox daemon."""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from syft_flwr.disk_errors import hint_of
from syft_flwr.errors import ConflictError, NotFoundError
from syft_flwr.names import is_pushed
from syft_flwr.transport._disk import open_folder, open_in_folder, translate, with_path, write_in_folder
from syft_flwr.transport._staging import Staging
from syft_flwr.transport._syftbox.pace import Pace
from syft_flwr.transport.base import Data

#: Bytes of the largest file.
MAX_FILE_SIZE = 1 << 40
#: The daemon never syncs a file of this name. It deletes each folder that its deletions empty, and does not watch a folder
#: that is made again, so it would push no file from there until its restart.
_KEEPS_FOLDER = ".syftkeep"
_FOLDER_ATTEMPTS = 5
#: Seconds after which an empty file counts as left by its writer.
_FILLED_WITHIN = 2.0
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644


class FileWriter:
    """Writes files below ``root``, the folder of all datasites. Thread-safe.

    Args:
        root: the folder of all datasites.
        staging: the folder for files that are being written; None if it is on another file system.
        pace: decides when a pushed file may appear.
        expect: called with the name of each file before it is written.
    """

    def __init__(self, root: Path, staging: Staging | None, pace: Pace, expect: Callable[[str], None]) -> None:
        self._root = root
        self._staging = staging
        self._pace = pace
        self._expect = expect

    def put(self, name: str, data: Data, *, replace: bool) -> None:
        """Write one file, see :meth:`syft_flwr.transport.base.Transport.put`."""
        *folders, leaf = name.split("/")
        # Another program can delete the folder between the two steps of a write. An iterator cannot be read twice.
        for attempt in range(_FOLDER_ATTEMPTS if isinstance(data, bytes) else 1, 0, -1):
            try:
                return self._put_in(folders, name, leaf, data, replace=replace)
            except NotFoundError:
                if attempt == 1:
                    raise
        return None

    def _put_in(self, folders: Sequence[str], name: str, leaf: str, data: Data, *, replace: bool) -> None:
        with self.made(folders) as folder:
            if not replace and exists_in(folder, leaf):
                _require_equal(folder, name, leaf, data)
                return
            self._expect(name)
            try:
                self._write(folder, name, leaf, data, replace=replace)
            except FileExistsError as error:
                # It appeared after the check. An iterator cannot be read twice.
                if not isinstance(data, bytes):
                    raise ConflictError(f"{name} was written by another program at the same time") from error
                _require_equal(folder, name, leaf, data)

    def fill(self, name: str, data: bytes) -> None:
        """Write a file that is missing or empty. A file with content stays, also one that appears meanwhile."""
        *folders, leaf = name.split("/")
        try:
            self.put(name, data, replace=False)
        except ConflictError:
            with self.made(folders) as folder:
                # A program that creates a file writes its content right after.
                if _is_left_empty(folder, leaf):
                    self._write(folder, name, leaf, data, replace=True)

    @contextlib.contextmanager
    def made(self, folders: Sequence[str]) -> Iterator[int]:
        """Open a folder that stays; create its missing parts. Try several times: the daemon can delete it meanwhile.

        Raises:
            NotFoundError: another program deleted the folder during each attempt.
        """
        for attempt in range(_FOLDER_ATTEMPTS):
            with contextlib.ExitStack() as stack:
                try:
                    folder = stack.enter_context(open_folder(self._root, folders, create_mode=_FOLDER_MODE))
                    if os.fstat(folder).st_nlink == 0:
                        continue
                    _keep_folder(folder, self._root.joinpath(*folders))
                except NotFoundError as error:
                    if attempt == _FOLDER_ATTEMPTS - 1:
                        raise self._no_folder(folders) from error
                    continue
                yield folder
                return
        text = f"{'/'.join(folders)} was deleted during each of {_FOLDER_ATTEMPTS} attempts to create it"
        raise NotFoundError(text, hint="Stop the program that deletes it, or try again later.")

    def _no_folder(self, folders: Sequence[str]) -> NotFoundError:
        """Return the error for a folder that cannot be created: it names the first part that is missing or no folder."""
        hint = "Stop the program that deletes or replaces it, then start again."
        if not self._root.is_dir():
            lost, hint = self._root.name, back_to(self._root)
        else:
            paths = ["/".join(folders[: depth + 1]) for depth in range(len(folders))]
            lost = next((path for path in paths if not _is_folder(self._root / path)), paths[-1])
        return NotFoundError(
            f"the folder {lost} was deleted, or is no folder, so no file can be written into it", hint=hint
        )

    def _lost_folder(self, name: str) -> NotFoundError:
        """Return the error for a write that met a deleted folder, which is that of the file or the staging folder."""
        if self._staging and not self._staging.path.is_dir():
            lost, hint = self._staging.path.parent.name, "Start again, so that it is created again."
        else:
            lost, hint = name.rpartition("/")[0], "Stop the program that deletes it, or try again later."
        return NotFoundError(f"the folder {lost} was deleted, so {name} cannot be written", hint=hint)

    def _write(self, folder: int, name: str, leaf: str, data: Data, *, replace: bool) -> None:
        staging = self._staging.fd if self._staging else None
        pushed = 0

        def take_turn(size: int) -> bool:
            nonlocal pushed
            announced = self._pace.take_turn(name, size, absent=not exists_in(folder, leaf))
            pushed = size if announced else 0
            return announced

        try:
            release = take_turn if is_pushed(name) else None
            write_in_folder(folder, leaf, data, mode=_FILE_MODE, staging=staging, release=release, replace=replace)
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            raise self._lost_folder(name) from error
        except OSError as error:
            raise translate(error, name, hint=with_path(hint_of(error), self._root / name)) from error
        self._pace.remember(name, pushed)


def back_to(root: Path) -> str:
    """Return the next step of a person after the folder of all datasites vanished."""
    return f"Mount its disk, or move it back to {root}. The work continues when it is there."


def _keep_folder(folder: int, path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(_KEEPS_FOLDER, flags, _FILE_MODE, dir_fd=folder))
    except FileExistsError:
        return
    except OSError as error:
        raise translate(error, _KEEPS_FOLDER, hint=with_path(hint_of(error), path)) from error


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def exists_in(folder: int, leaf: str) -> bool:
    """Return whether a folder has an entry ``leaf``, of any kind."""
    try:
        os.stat(leaf, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_left_empty(folder: int, leaf: str) -> bool:
    try:
        status = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and not status.st_size and abs(time.time() - status.st_mtime) > _FILLED_WITHIN


def _require_equal(folder: int, name: str, leaf: str, data: Data) -> None:
    try:
        fd, size = open_in_folder(folder, leaf, max_size=MAX_FILE_SIZE)
    except NotFoundError as error:
        raise ConflictError(f"{name} exists and is not a file with content; files are written once") from error
    with os.fdopen(fd, "rb") as file:
        for buffer in (data,) if isinstance(data, bytes) else data:
            view = memoryview(buffer).cast("B")
            size -= len(view)
            if file.read(len(view)) != view:
                raise ConflictError(f"{name} exists with other content; files are written once")
    if size:
        raise ConflictError(f"{name} exists with other content; files are written once")
