"""One Google account's Drive: typed calls, each repeated until it succeeds, is refused, or has no time left.

Reads have 60 seconds, writes 300; an upload and a download have them from their last progress on::

    with closing(DriveClient(open_account(path))) as drive:
        for file in drive.search("'me' in owners and trashed = false"):
            ...

What the stock client is used for is making requests: they are sent, repeated and read here (docs/adr/0015).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from googleapiclient.discovery import build

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.errors import LoginError
from syft_flwr.transport._gdrive.api.auth import GoogleAccount
from syft_flwr.transport._gdrive.api.batch import call_many, first_error
from syft_flwr.transport._gdrive.api.budget import Budget, Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.download import download
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, check_id
from syft_flwr.transport._gdrive.api.http_request import HttpRequest
from syft_flwr.transport._gdrive.api.reading import Reader
from syft_flwr.transport._gdrive.api.retry import WRITE_LIMIT
from syft_flwr.transport._gdrive.api.sharing import share
from syft_flwr.transport._gdrive.api.upload import CHUNK
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions
from syft_flwr.transport._gdrive.api.writing import Writer


class DriveClient:
    """One Google account's Drive. Thread-safe.

    Every call may raise a ``TransportError``: ``LoginError`` if the login is not good, ``UnavailableError`` if there was no
    answer in time, ``QuotaError``, ``RefusedError``, ``StorageFullError``, ``NotFoundError``.

    Args:
        budget: how fast calls may start; give one to every client of the same account.
        chunk: bytes of one request of a large upload, a multiple of 256 KiB.
    """

    def __init__(
        self, account: GoogleAccount, *, clock: Clock | None = None, budget: Budget | None = None, chunk: int = CHUNK
    ) -> None:
        clock = clock or SystemClock()
        self._channel = Channel(account, clock, budget or Budget(clock=clock))
        # The description of the API comes with the package; nothing is fetched, and nothing sent over this connection.
        service = build("drive", "v3", http=account.make_http(), cache_discovery=False, static_discovery=True)
        self._files, self._permissions = service.files(), service.permissions()
        self._reader = Reader(self._channel, service)
        self._writer = Writer(self._channel, self._files, chunk=chunk)
        self._me = ""

    def me(self) -> str:
        """Return the email of the account, case-folded."""
        self._me = self._me or self._reader.me()
        return self._me

    def free_space(self) -> int | None:
        """Return how many bytes the account can still store; None if that is not limited."""
        return self._reader.free_space()

    def new_ids(self, count: int) -> list[str]:
        """Return ids for files and folders that this account will create."""
        return self._reader.new_ids(count)

    def get(self, file_id: str) -> DriveFile:
        """Look at one file.

        Raises:
            NotFoundError: it is absent, in the trash, or not shared with this account.
        """
        return self._reader.get(file_id)

    def get_many(self, file_ids: Sequence[str]) -> dict[str, DriveFile | None]:
        """Look at many files; None stands for what :meth:`get` does not find."""
        return self._reader.get_many(file_ids)

    def search(self, query: str, *, max_files: int = 10_000) -> Iterator[DriveFile]:
        """Iterate over what matches ``query``, in Drive's language, each file once; the query says whether the trash counts."""
        return self._reader.search(query, max_files)

    def create_folder(
        self, file_id: str, name: str, properties: Mapping[str, str], parent: str | None = None
    ) -> DriveFile:
        """Create a folder, in My Drive if no ``parent`` is given; one of ours with this id is returned as it is.

        Raises:
            TakenError: the id belongs to something else.
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
        """Create a file with all of ``content``, which is seekable; may be repeated, also by another process.

        Args:
            sessions: remembers a large upload, so that another process goes on with it.

        Raises:
            TakenError: the id belongs to a file of another name or content.
        """
        return self._writer.create(file_id, name, parent, properties, content, size, md5, sessions).file()

    def update(
        self, file_id: str, content: BinaryIO, size: int, md5: str, properties: Mapping[str, str] | None = None
    ) -> DriveFile:
        """Replace the content of a file of which this account is the only writer; ``properties`` are added to its own."""
        return self._writer.update(file_id, content, size, md5, properties).file()

    def set_properties(self, file_id: str, properties: Mapping[str, str | None]) -> None:
        """Add and change properties; None takes one away."""
        what = f"change of {check_id(file_id)}"
        built = self._files.update(fileId=file_id, body={"properties": dict(properties)}, fields="id")
        self._channel.call(HttpRequest.of(built), what=what, units=Units.EDIT, limit=WRITE_LIMIT).ok(what)

    def share(self, file_id: str, reader: str) -> None:
        """Let the account ``reader`` read a file, or a folder with all that is in it. Nobody gets mail."""
        share(self._channel, self._permissions, check_id(file_id), reader)

    def delete_many(self, file_ids: Sequence[str], said: Mapping[str, Mapping[str, str | None]] | None = None) -> None:
        """Delete files of this account for good; those that are not there are no error.

        ``said``: properties to be set in the same batch, by the id of what gets them.
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
        """Write the content of ``file`` to ``target``, from its present position on; size and MD5 are verified.

        Raises:
            ReplacedError: it is another file by now.
            TransportError: what arrived is not what ``file`` says, four times.
        """
        request = HttpRequest.of(self._files.get_media(fileId=check_id(file.id)))
        download(self._channel, request, file, target, lambda: self.get(file.id))

    def close(self) -> None:
        """End every call that is under way; the client is of no use afterwards."""
        self._channel.close()


def require_owner(drive: DriveClient, email: str) -> str:
    """Return whose login it is.

    Raises:
        LoginError: not that of ``email``, or not good.
    """
    owner = drive.me()
    if owner != email.casefold():
        raise LoginError(
            f"Google Drive: the login is that of {owner}, and this participant is {email}",
            hint="Run `syft-flwr login` with the other account, or correct SYFTBOX_EMAIL.",
        )
    return owner
