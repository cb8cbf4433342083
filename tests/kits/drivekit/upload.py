"""Upload a file in a separate process that a test can kill; arguments: TOKEN API ID PARENT SOURCE JOURNAL."""

import sys
from contextlib import closing
from pathlib import Path

from drivekit.accounts import CHUNK, md5
from syft_flwr.transport._gdrive.api.auth import open_account
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions


def main(token: str, api: str, file_id: str, parent: str, source: str, journal: str) -> None:
    data = Path(source).read_bytes()
    account = open_account(Path(token), api)
    with closing(DriveClient(account, chunk=CHUNK)) as drive, open(source, "rb") as file:
        drive.create(
            file_id, "file.bin", parent, {}, file, len(data), md5(data), sessions=UploadSessions(Path(journal))
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
