"""The client of one Google account's Drive: typed calls, which are repeated after temporary failures.

A read is given up after 60 seconds, a write after 300; with a time-out of more than a minute, later. For an upload or a download, each progress restarts the time::

    with closing(DriveClient(open_account(path))) as drive:
        for file in drive.search("'me' in owners and trashed = false"):
            ...

Google's client library only builds the requests. This package sends them, repeats them, and reads the responses
(docs/adr/0015).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import BinaryIO

from googleapiclient.discovery import build

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.emails import fold
from syft_flwr.errors import LoginError
from syft_flwr.transport._gdrive.api.auth import GoogleAccount
from syft_flwr.transport._gdrive.api.batch import call_many, first_error
from syft_flwr.transport._gdrive.api.budget import Budget, Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.download import download
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, check_id
from syft_flwr.transport._gdrive.api.http import TIMEOUT
from syft_flwr.transport._gdrive.api.http_request import HttpRequest
from syft_flwr.transport._gdrive.api.reading import Reader
from syft_flwr.transport._gdrive.api.retry import WRITE_LIMIT
from syft_flwr.transport._gdrive.api.sharing import share
from syft_flwr.transport._gdrive.api.upload import CHUNK
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions
from syft_flwr.transport._gdrive.api.writing import Writer


class DriveClient:
    """The client of one Google account's Drive. Thread-safe.

    Every call can raise these kinds of ``TransportError``: ``LoginError`` (the login is not valid), ``UnavailableError``
    (no response in time), ``QuotaError``, ``RefusedError``, ``StorageFullError``, ``NotFoundError``.

    Args:
        budget: limits the rate of calls; all clients of one account must share it.
        chunk: bytes of one request of a large upload, a multiple of 256 KiB.
        timeout: seconds without a byte after which a request counts as lost.
        concurrency: the most requests at the same time, at least 2.
    """

    def __init__(
        self,
        account: GoogleAccount,
        *,
        clock: Clock | None = None,
        budget: Budget | None = None,
        chunk: int = CHUNK,
        timeout: float = TIMEOUT,
        concurrency: int = 16,
    ) -> None:
        clock = clock or SystemClock()
        budget = budget or Budget(clock=clock)
        self._channel = Channel(account, clock, budget, timeout=timeout, concurrency=concurrency)
        # The package contains the description of the API, so ``build`` sends no request over this connection.
        service = build("drive", "v3", http=account.make_http(), cache_discovery=False, static_discovery=True)
        self._files, self._permissions = service.files(), service.permissions()
        self._reader = Reader(self._channel, service)
        self._writer = Writer(self._channel, self._files, chunk=chunk)
        self._me = ""

    def me(self) -> str:
        """Return the email of the account in lower case."""
        self._me = self._me or self._reader.me()
        return self._me

    def free_space(self) -> int | None:
        """Return how many bytes the account can still store; None if it has no limit."""
        return self._reader.free_space()

    def server_time(self) -> datetime | None:
        """Return the time of Google's clock; None if the response does not tell it."""
        return self._reader.server_time()

    def new_ids(self, count: int) -> list[str]:
        """Return ``count`` new ids, under which this account can create files and folders."""
        return self._reader.new_ids(count)

    def get(self, file_id: str) -> DriveFile:
        """Return the metadata of one file.

        Raises:
            NotFoundError: the file does not exist, is in the trash, or is not shared with this account.
        """
        return self._reader.get(file_id)

    def get_many(self, file_ids: Sequence[str]) -> dict[str, DriveFile | None]:
        """Return the metadata of many files by id; None for each file that :meth:`get` would not find."""
        return self._reader.get_many(file_ids)

    def search(self, query: str, *, max_files: int = 10_000) -> Iterator[DriveFile]:
        """Iterate over the files that match ``query``, each file once.

        Args:
            query: in Drive's query language; without ``trashed = false``, it also finds files in the trash.
            max_files: the search ends after this number of files.
        """
        return self._reader.search(query, max_files)

    def create_folder(
        self, file_id: str, name: str, properties: Mapping[str, str], parent: str | None = None
    ) -> DriveFile:
        """Create a folder, in My Drive if ``parent`` is None. May be repeated: it then returns the existing folder.

        Raises:
            TakenError: the id belongs to a file or folder that is not this account's folder.
        """
        return self._writer.create_folder(file_id, name, properties, parent).file()

    def create(
        self,
        file_id: str,
        name: str,
        parent: str,
        properties: Mapping[str, str],
        content: BinaryIO,
        size: int,
        md5: str,
        *,
        sessions: UploadSessions | None = None,
    ) -> DriveFile:
        """Create a file with all of ``content``. May be repeated, also by another process.

        Args:
            content: a seekable file.
            size: bytes of the content.
            md5: MD5 of the content, hexadecimal.
            sessions: records a large upload, so that another process can continue it.

        Raises:
            TakenError: the id belongs to a file of another name or content.
        """
        return self._writer.create(file_id, name, parent, properties, content, size, md5, sessions).file()

    def update(
        self, file_id: str, content: BinaryIO, size: int, md5: str, properties: Mapping[str, str] | None = None
    ) -> DriveFile:
        """Replace the content of a file that only this account writes; add ``properties`` to those of the file."""
        return self._writer.update(file_id, content, size, md5, properties).file()

    def set_properties(self, file_id: str, properties: Mapping[str, str | None]) -> None:
        """Add and change properties of a file; a value of None removes a property."""
        what = f"change of {check_id(file_id)}"
        built = self._files.update(fileId=file_id, body={"properties": dict(properties)}, fields="id")
        self._channel.call(HttpRequest.of(built), what=what, units=Units.EDIT, limit=WRITE_LIMIT).ok(what)

    def share(self, file_id: str, reader: str) -> None:
        """Let the account ``reader`` read a file, or a folder and all its files. Google sends no email about it."""
        share(self._channel, self._permissions, check_id(file_id), reader)

    def delete_many(self, file_ids: Sequence[str], said: Mapping[str, Mapping[str, str | None]] | None = None) -> None:
        """Delete files of this account permanently. A file that does not exist is not an error.

        Args:
            said: changes of properties to make in the same batch, by the id of the file or folder.
        """
        what = f"deletion of {len(file_ids)} files"
        changes = said or {}

        def make(file_id: str) -> HttpRequest:
            if file_id in changes:
                body = {"properties": dict(changes[file_id])}
                return HttpRequest.of(self._files.update(fileId=file_id, body=body, fields="id"))
            return HttpRequest.of(self._files.delete(fileId=file_id))

        answers = call_many(
            self._channel,
            [check_id(file_id) for file_id in (*file_ids, *changes)],
            make,
            what=what,
            units=Units.EDIT,
            limit=WRITE_LIMIT,
        )
        if error := first_error(answers, what, except_for=lambda answer: answer.status == 404):
            raise error

    def download(self, file: DriveFile, target: BinaryIO) -> None:
        """Write the content of ``file`` to ``target``, from the present position of ``target`` on; check size and MD5.

        Raises:
            ReplacedError: the content of the file changed after ``file`` was read.
            TransportError: the data did not match the size and MD5 in four attempts.
        """
        request = HttpRequest.of(self._files.get_media(fileId=check_id(file.id)))
        download(self._channel, request, file, target, lambda: self.get(file.id))

    def close(self) -> None:
        """Make every running call fail. The client cannot be used afterwards."""
        self._channel.close()


def require_owner(drive: DriveClient, email: str) -> str:
    """Return the email of the login.

    Raises:
        LoginError: the login belongs to another account than ``email``, or is not valid.
    """
    owner = drive.me()
    if owner != fold(email):
        raise LoginError(
            f"Google Drive: the login belongs to {owner}, but this participant is {email}",
            hint=f"Run `syft-flwr login` with the account {email}, or correct SYFTBOX_EMAIL.",
        )
    return owner
