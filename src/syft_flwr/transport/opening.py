"""A transport from plain values, so that another process can open the same one."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from syft_flwr.transport.base import Transport


class TransportConfig(BaseModel):
    """What it takes to open one participant's end of a transport."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["syftbox"]
    email: str
    data_dir: Path
    poll_interval: float

    def open(self) -> Transport:
        from syft_flwr.transport.syftbox import SyftBoxTransport

        return SyftBoxTransport(self.data_dir, self.email, poll_interval=self.poll_interval)


def open_gdrive(
    email: str,
    home: Path,
    *,
    peers: Collection[str],
    token_path: Path | None,
    api: str | None,
    poll_interval: float,
    live: bool,
) -> Transport:
    """Log in to Google Drive, and open a participant's end of it.

    Args:
        email: whose account it must be.
        home: of this participant; the token that ``syft-flwr login`` stored lies there.
        peers: whom it exchanges files with.
        token_path: a token file of another place.
        api: an emulator's address in place of Google's.
        poll_interval: seconds between two looks.
        live: poll from the start, and answer from what was found.

    Raises:
        LoginError: there is no login, it is not valid any more, or it is another account's.
    """
    from syft_flwr.transport._gdrive.api.requirements import require_google

    require_google()
    from syft_flwr.transport._gdrive.api.auth import TOKEN_FILE, open_account
    from syft_flwr.transport._gdrive.api.drive_client import DriveClient, require_owner
    from syft_flwr.transport.gdrive import GDriveTransport

    drive = DriveClient(open_account(token_path, api, stored=home / TOKEN_FILE))
    try:
        require_owner(drive, email)
        return GDriveTransport(drive, email, home, peers=peers, poll_interval=poll_interval, live=live)
    except BaseException:
        drive.close()
        raise
