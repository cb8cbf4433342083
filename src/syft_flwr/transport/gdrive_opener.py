"""Opens a participant's end of Google Drive; a module of its own, because Google's libraries are optional."""

from collections.abc import Collection
from pathlib import Path

from syft_flwr.config import Settings
from syft_flwr.transport.base import Transport


def open_gdrive(settings: Settings, peers: Collection[str], live: bool) -> Transport:
    """Log in to Google Drive, and open a participant's end of it.

    Raises:
        ConfigError: Google's libraries are not installed.
        LoginError: there is no login, it is not valid any more, or it is another account's.
    """
    from syft_flwr.transport._gdrive.api.requirements import require_google

    require_google()
    from syft_flwr.transport._gdrive.api.auth import TOKEN_FILE, open_account
    from syft_flwr.transport._gdrive.api.drive_client import DriveClient, require_owner
    from syft_flwr.transport.gdrive import GDriveTransport

    email, home = str(settings.require("email")), Path(settings.require("home"))
    drive = DriveClient(open_account(settings.gdrive_token_path, settings.gdrive_api, stored=home / TOKEN_FILE))
    try:
        require_owner(drive, email)
        return GDriveTransport(drive, email, home, peers=peers, poll_interval=settings.poll_interval, live=live)
    except BaseException:
        drive.close()
        raise
