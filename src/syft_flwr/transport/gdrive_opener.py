"""Opens the Google Drive transport. It imports Google's libraries only when called, because they are optional."""

from collections.abc import Collection
from pathlib import Path

from syft_flwr.config import Settings
from syft_flwr.transport.base import Transport


def open_gdrive(settings: Settings, peers: Collection[str], live: bool) -> Transport:
    """Log in to Google Drive, and return the transport of a participant.

    Args:
        settings: the resolved settings of the participant.
        peers: the emails of the peers, normalised.
        live: poll from the first use on.

    Raises:
        ConfigError: Google's libraries are not installed.
        LoginError: no login was found, it is no longer valid, or it belongs to another account.
    """
    from syft_flwr.transport._gdrive.api.requirements import require_google

    require_google()
    from syft_flwr.transport._gdrive.api.auth import TOKEN_FILE, open_account
    from syft_flwr.transport._gdrive.api.drive_client import DriveClient, require_owner
    from syft_flwr.transport.gdrive import GDriveTransport

    email, home = str(settings.require("email")), Path(settings.require("home"))
    drive = DriveClient(
        open_account(settings.gdrive_token_path, settings.gdrive_api, stored=home / TOKEN_FILE),
        timeout=settings.gdrive_timeout,
        concurrency=settings.gdrive_concurrency,
    )
    try:
        require_owner(drive, email)
        return GDriveTransport(
            drive,
            email,
            home,
            peers=peers,
            poll_interval=settings.poll_interval,
            live=live,
            concurrency=settings.gdrive_concurrency // 2,
        )
    except BaseException:
        drive.close()
        raise
