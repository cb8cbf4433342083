"""An example of a transport outside the package: one flat folder, with the hash of each name as file name.

A file consists of a line of JSON (its name and its readers) and the content. An ``.inbox`` file contains the path of
the inbox that it opens. The transport has no events for changes.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from syft_flwr.config import Settings
from syft_flwr.errors import ConflictError, NotFoundError, TooLargeError, TransportError
from syft_flwr.names import MAX_NAME_LENGTH, is_below, is_valid_name, may_write, validate_name
from syft_flwr.transport._disk import open_folder, open_in_folder, translate, write_in_folder
from syft_flwr.transport.base import Data, Entry, Properties, Reopening
from syft_flwr.transport.watch import NameWatch

_MAX_FILE = 1 << 40
_MAX_HEAD = 1 << 20
_BUFFER = 1 << 20
_LEAF = re.compile(r"[0-9a-f]{64}")
_INBOX = re.compile(r"[0-9a-f]{64}\.inbox")


def open_hashed_folder(settings: Settings, peers: Collection[str], live: bool) -> "HashedFolder":
    """Return the transport of a participant; the table of transports names this function."""
    return HashedFolder(settings.require("hashed_dir"), settings.require("email"), settings.poll_interval)


def reopen_hashed_folder(folder: str, email: str, poll_interval: float) -> "HashedFolder":
    """Return the same transport in a worker process."""
    return HashedFolder(Path(folder), email, poll_interval)


class HashedFolder:
    """The transport of one participant; see :class:`syft_flwr.transport.base.Transport`."""

    def __init__(self, folder: Path, email: str, poll_interval: float = 0.5) -> None:
        self._folder = folder
        self._email = email
        self._refused: set[str] = set()
        self.properties = Properties(_MAX_FILE, 1 << 20, min(poll_interval, 1.0), pushes_events=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate(error, "the hashed folder") from error

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        leaf = _leaf(name)
        if not self.may_write(name):
            self._refused.add(name)
            return
        self._refused.discard(name)
        if not replace and self._holds(name, leaf, data):
            return
        who = sorted({self._email, name.partition("/")[0], *readers})
        head = json.dumps({"name": name, "readers": who}).encode() + b"\n"
        self._write(leaf, name, chain([head], _buffers(data)))

    def may_write(self, name: str) -> bool:
        """Return whether this participant may write a file: its own file, or a message in an open inbox."""
        mine = name.startswith(f"{self._email}/")
        return mine or (may_write(self._email, name) and is_below(name, self._inboxes()))

    def get(self, name: str, *, max_size: int) -> bytes:
        with self.open(name, max_size=max_size) as file:
            try:
                data = file.read(max_size + 1)
            except OSError as error:
                raise translate(error, name) from error
        if len(data) > max_size:
            raise TransportError(f"{name} changed while it was read")
        return data

    def open(self, name: str, *, max_size: int) -> BinaryIO:
        file, size = self._open(name, _leaf(name))
        if size > max_size:
            file.close()
            raise TooLargeError(f"{name} has {size} bytes; at most {max_size} are accepted")
        return file

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        with self.open(name, max_size=max_size) as file, open_folder(path.parent, ()) as folder:
            try:
                write_in_folder(folder, path.name, iter(lambda: file.read(_BUFFER), b""), mode=0o600)
            except OSError as error:
                raise translate(error, name) from error

    def stat(self, name: str) -> Entry:
        file, size = self._open(name, _leaf(name))
        file.close()
        return Entry(name, size)

    def refused(self, name: str) -> bool:
        return validate_name(name) in self._refused

    def delete_conflicts(self, prefix: str, *, most: int) -> None:
        pass

    def list(self, prefix: str) -> Iterator[Entry]:
        for leaf in filter(_LEAF.fullmatch, self._leaves()):
            # A foreign, unreadable or deleted file is skipped, so that the listing continues.
            with contextlib.suppress(TransportError):
                name = self._name_in(leaf)
                if is_below(name, [f"{prefix.rstrip('/')}/"]):
                    yield self.stat(name)

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        return NameWatch(prefixes, on_close=lambda _: None)

    def delete(self, name: str) -> None:
        leaf = _leaf(name)
        self._refused.discard(name)
        if self.may_write(name):
            with open_folder(self._folder, ()) as folder, contextlib.suppress(FileNotFoundError):
                os.unlink(leaf, dir_fd=folder)

    def open_inbox(self, prefix: str) -> None:
        inbox = validate_name(f"{prefix.rstrip('/')}/x").removesuffix("x")
        self._write(f"{_hash(inbox)}.inbox", inbox, inbox.encode())

    def prepare(self, prefix: str, readers: Collection[str]) -> None:
        """Do nothing: each file of this folder has its own list of readers."""

    def restore_permissions(self) -> None:
        """Do nothing: nothing but this participant deletes its list of readers."""

    def free_space(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except OSError as error:
            raise translate(error, "the hashed folder") from error

    def reopen(self) -> Reopening:
        arguments = {
            "folder": str(self._folder),
            "email": self._email,
            "poll_interval": self.properties.poll_interval,
        }
        return Reopening(f"{__name__}:{reopen_hashed_folder.__name__}", arguments)

    def close(self) -> None:
        pass

    def _leaves(self) -> Collection[str]:
        with open_folder(self._folder, ()) as folder:
            return os.listdir(folder)

    def _inboxes(self) -> Iterator[str]:
        for leaf in filter(_INBOX.fullmatch, self._leaves()):
            with contextlib.suppress(TransportError), self._file(leaf) as file:
                yield file.read(MAX_NAME_LENGTH).decode(errors="replace")

    def _file(self, leaf: str) -> BinaryIO:
        """Open a regular file of the folder; refuse links and pipes."""
        with open_folder(self._folder, ()) as folder:
            fd, _ = open_in_folder(folder, leaf, max_size=_MAX_FILE + _MAX_HEAD)
        return os.fdopen(fd, "rb")

    def _name_in(self, leaf: str) -> str:
        """Return the name in the first line of a file.

        Raises:
            NotFoundError: the name is not valid, or its hash is not the file name.
        """
        with self._file(leaf) as file:
            name, _ = _read_head(file)
        if not is_valid_name(name) or _hash(name) != leaf:
            raise NotFoundError(f"{leaf} was not written by this transport")
        return name

    def _open(self, name: str, leaf: str) -> tuple[BinaryIO, int]:
        """Return an open file at the start of its content, and the size of the content in bytes.

        Raises:
            NotFoundError: the file is missing or empty, or this participant is not a reader.
        """
        file = self._file(leaf)
        try:
            found, readers = _read_head(file)
            size = os.fstat(file.fileno()).st_size - file.tell()
            if found != name or not size or not readers & {"*", self._email}:
                raise NotFoundError(f"{name} does not exist")
        except BaseException:
            file.close()
            raise
        return file, size

    def _holds(self, name: str, leaf: str, data: Data) -> bool:
        """Return whether the file exists with the same content.

        Raises:
            ConflictError: the file exists with other content.
        """
        if leaf not in self._leaves():
            return False
        try:
            with self._file(leaf) as file:
                same = _read_head(file)[0] == name and _continues_with(file, data)
        except NotFoundError:
            same = False
        except OSError as error:
            raise translate(error, name) from error
        if not same:
            raise ConflictError(f"{name} exists with other content; files are written once")
        return True

    def _write(self, leaf: str, what: str, data: Data) -> None:
        with open_folder(self._folder, ()) as folder:
            try:
                write_in_folder(folder, leaf, data, mode=0o644)
            except OSError as error:
                raise translate(error, what) from error


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _leaf(name: str) -> str:
    return _hash(validate_name(name))


def _read_head(file: BinaryIO) -> tuple[str, frozenset[str]]:
    """Return the name and the readers from the first line of a file.

    Raises:
        NotFoundError: the line does not have this form.
    """
    try:
        head = json.loads(file.readline(_MAX_HEAD))
        return str(head["name"]), frozenset(map(str, head["readers"]))
    except (ValueError, TypeError, KeyError, RecursionError, OSError) as error:
        raise NotFoundError("the file was not written by this transport") from error


def _buffers(data: Data) -> Iterable[bytes | bytearray | memoryview]:
    return (data,) if isinstance(data, bytes) else data


def _continues_with(file: BinaryIO, data: Data) -> bool:
    """Return whether the rest of a file equals ``data``."""
    views = (memoryview(buffer).cast("B") for buffer in _buffers(data))
    return all(file.read(len(view)) == view for view in views) and not file.read(1)
