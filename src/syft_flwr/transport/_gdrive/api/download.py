"""Downloads a file into a local file, and continues after a broken connection."""

import hashlib
import re
from collections.abc import Callable
from typing import BinaryIO

from syft_flwr.errors import TransportError
from syft_flwr.log import logger
from syft_flwr.transport._disk import translate
from syft_flwr.transport._gdrive.api.budget import Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, ReplacedError
from syft_flwr.transport._gdrive.api.http_request import HttpRequest
from syft_flwr.transport._gdrive.api.retry import READ_LIMIT, RetryableError

#: How often a file is downloaded if its size or checksum does not match.
ATTEMPTS = 4
_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")


class _DamagedError(Exception):
    """The received data does not match the size or checksum that Drive reported."""


class _Target:
    """Writes received blocks to a file, and counts and hashes them. It accepts at most the size of the file."""

    def __init__(self, target: BinaryIO, size: int) -> None:
        self._target, self._size = target, size
        self._base = target.tell()
        self.restart()

    def restart(self) -> None:
        self.received = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        try:
            self._target.seek(self._base)
            self._target.truncate()
        except OSError as error:
            raise translate(error, "the download") from error

    def begin(self, status: int, content_range: str, length: int | None) -> None:
        if status == 200:
            if length not in (None, self._size):
                raise _DamagedError
            # The server ignored the requested range and sends the whole file.
            if self.received:
                self.restart()
            return
        found = _RANGE.fullmatch(content_range)
        if not found or (int(found[1]), int(found[2])) != (self.received, self._size):
            raise _DamagedError

    def write(self, block: bytes) -> None:
        if self.received + len(block) > self._size:
            raise _DamagedError
        try:
            self._target.write(block)
        except OSError as error:
            # Translated here: outside, an OSError means a failed connection.
            raise translate(error, "the download") from error
        self.md5.update(block)
        self.received += len(block)


def download(
    channel: Channel, request: HttpRequest, file: DriveFile, target: BinaryIO, look: Callable[[], DriveFile]
) -> None:
    """Write the content of ``file`` to ``target``, from the present position of ``target`` on.

    Args:
        request: the request for the whole content.
        look: returns the present metadata of the file.

    Raises:
        ReplacedError: its owner replaced the content during the download.
        TransportError: the data was damaged in each of ``ATTEMPTS`` attempts.
    """
    what = f"download of {file.id}"
    sink = _Target(target, file.size)

    def attempt(latest: float) -> None:
        if sink.received == file.size:
            return
        asked = request.with_headers(range=f"bytes={sink.received}-") if sink.received else request
        answer = channel.send(asked, units=Units.DOWNLOAD, latest=latest, sink=sink)
        if answer.status == 416:
            raise _DamagedError
        answer.ok(what)
        if sink.received < file.size:
            raise RetryableError("the file ended early")

    for number in range(ATTEMPTS):
        if number:
            sink.restart()
        try:
            channel.patience.run(what, READ_LIMIT, attempt, progress=lambda: sink.received)
        except _DamagedError:
            pass
        else:
            if not file.md5 or sink.md5.hexdigest() == file.md5:
                return
        if ((now := look()).md5, now.size) != (file.md5, file.size):
            raise ReplacedError(f"Google Drive: {what}: its owner replaced the file during the download", now)
        text = "Drive: attempt {} of {} to download {} returned damaged data; no action is needed if a later attempt succeeds"
        logger.warning(text, number + 1, ATTEMPTS, file.id)
    raise TransportError(
        f"Google Drive: {what}: the data did not match Drive's size and checksum in {ATTEMPTS} attempts",
        hint="Start again. If this happens again, check whether a proxy changes downloads from Google.",
    )
