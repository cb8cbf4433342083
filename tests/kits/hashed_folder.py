"""A transport that is no part of the package: one flat folder in which every file is called by the hash of its name.

A file is a line of JSON (its name, its writer, its readers) and the content. Nothing tells of changes.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from syft_flwr.config import Settings
from syft_flwr.errors import ConflictError, NotFoundError, TooLargeError
from syft_flwr.names import INBOX_SUFFIXES, validate_name
from syft_flwr.transport._disk import translate
from syft_flwr.transport.base import Data, Entry, Properties, Reopening
from syft_flwr.transport.watch import NameWatch


def open_hashed_folder(settings: Settings, peers: Collection[str], live: bool) -> "HashedFolder":
    """Open a participant's end, as the row in the table of transports says."""
    return HashedFolder(settings.require("hashed_dir"), settings.require("email"), settings.poll_interval)


def reopen_hashed_folder(folder: str, email: str, poll_interval: float) -> "HashedFolder":
    """Open the same end in a worker process."""
    return HashedFolder(Path(folder), email, poll_interval)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class HashedFolder:
    """One participant's end; see :class:`syft_flwr.transport.base.Transport`."""

    def __init__(self, folder: Path, email: str, poll_interval: float = 0.5) -> None:
        self._folder = folder
        self._email = email
        self._refused: set[str] = set()
        self.properties = Properties(1 << 40, 1 << 20, min(poll_interval, 1.0), pushes_events=False)
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / _hash(validate_name(name))

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        path = self._path(name)
        if not self.may_write(name):
            self._refused.add(name)
            return
        self._refused.discard(name)
        temporary = self._folder / f"{secrets.token_hex(8)}.new"
        who = sorted({self._email, name.partition("/")[0], *readers})
        try:
            with temporary.open("xb") as file:
                file.write(json.dumps({"name": name, "writer": self._email, "readers": who}).encode() + b"\n")
                for buffer in (data,) if isinstance(data, bytes) else data:
                    file.write(buffer)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                self._add(name, temporary, path)
        except OSError as error:
            raise translate(error, name) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _add(self, name: str, temporary: Path, path: Path) -> None:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as old, temporary.open("rb") as new:
                old.readline()
                new.readline()
                if old.read() != new.read():
                    raise ConflictError(f"{name} exists with other content; files are written once") from None

    def may_write(self, name: str) -> bool:
        """Return whether this participant may write a file: its own, or a message in an inbox that was opened."""
        folder, _, leaf = name.rpartition("/")
        inbox = folder.removesuffix(self._email)
        opened = any((self._folder / f"{_hash(above)}.inbox").exists() for above in _above(inbox))
        mine = leaf.endswith(INBOX_SUFFIXES) and folder.endswith(f"/{self._email}")
        return name.startswith(f"{self._email}/") or (mine and opened)

    def get(self, name: str, *, max_size: int) -> bytes:
        with self.open(name, max_size=max_size) as file:
            return file.read()

    def open(self, name: str, *, max_size: int) -> BinaryIO:
        try:
            file = self._path(name).open("rb")
        except OSError as error:
            raise translate(error, name) from error
        head = json.loads(file.readline())
        size = os.fstat(file.fileno()).st_size - file.tell()
        if size and {"*", self._email} & set(head["readers"]):
            if size <= max_size:
                return file
            file.close()
            raise TooLargeError(f"{name} has {size} bytes; at most {max_size} are accepted")
        file.close()
        raise NotFoundError(f"{name} is not there")

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        temporary = path.with_name(f"{path.name}.new")
        try:
            with self.open(name, max_size=max_size) as file, temporary.open("wb") as kept:
                shutil.copyfileobj(file, kept)
            temporary.replace(path)
        except OSError as error:
            raise translate(error, name) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def stat(self, name: str) -> Entry:
        with self.open(name, max_size=self.properties.max_file_size) as file:
            return Entry(name, os.fstat(file.fileno()).st_size - file.tell())

    def refused(self, name: str) -> bool:
        return name in self._refused

    def list(self, prefix: str) -> Iterator[Entry]:
        names = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if not path.suffix:
                    with path.open("rb") as file:
                        names.append(json.loads(file.readline())["name"])
        for name in names:
            if name.startswith(f"{prefix.rstrip('/')}/"):
                with contextlib.suppress(NotFoundError):
                    yield self.stat(name)

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        return NameWatch(prefixes, on_close=lambda _: None)

    def delete(self, name: str) -> None:
        path = self._path(name)
        self._refused.discard(name)
        if self.may_write(name):
            path.unlink(missing_ok=True)

    def open_inbox(self, prefix: str) -> None:
        (self._folder / f"{_hash(prefix.rstrip('/') + '/')}.inbox").touch()

    def free_space(self) -> int:
        return shutil.disk_usage(self._folder).free

    def reopen(self) -> Reopening:
        arguments = {
            "folder": str(self._folder),
            "email": self._email,
            "poll_interval": self.properties.poll_interval,
        }
        return Reopening(f"{__name__}:{reopen_hashed_folder.__name__}", arguments)

    def close(self) -> None:
        pass


def _above(folder: str) -> Iterator[str]:
    """Return a folder and those above it, each with a slash at its end."""
    parts = folder.strip("/").split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length]) + "/"
