"""Logs in to Google Drive with the stored login, and asks for the account, its free space and the time."""

import threading
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from syft_flwr.clock import Clock
from syft_flwr.config import Settings
from syft_flwr.config.transport_table import default_transport
from syft_flwr.errors import LoginError, TransportError, UnavailableError

#: Seconds for all calls together.
_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class DriveFacts:
    """The facts about an account; ``free`` is None for an account without a limit."""

    owner: str
    source: str
    free: int | None
    #: The clock of Google when it responded, and the own one at this moment; None if the response has no time.
    times: tuple[datetime, datetime] | None


def look_at_drive(settings: Settings, token_path: Path | None, email: str, clock: Clock) -> DriveFacts:
    """Return the facts about the account, after calls that need each access right that a participant needs.

    Raises:
        ConfigError: Google's libraries are not installed.
        LoginError: no login was found, it is not valid, it belongs to another account, or it lacks a right.
        TransportError: Google Drive did not respond, or refused.
    """
    from syft_flwr.transport._gdrive.api.requirements import require_google

    require_google()
    if token_path is None and settings.gdrive_api is None and default_transport() == "p2p":
        # Colab would ask the person, and wait.
        raise LoginError(
            "Google Drive: no account is logged in on this machine yet",
            hint="In Colab, start the server or the client: it asks for the login. Or run `syft-flwr login`.",
        )
    from syft_flwr.transport._gdrive.api.auth import open_account
    from syft_flwr.transport._gdrive.api.drive_client import DriveClient, require_owner

    account = open_account(token_path, settings.gdrive_api)
    with closing(DriveClient(account)) as drive:
        is_late = threading.Event()

        def end_calls() -> None:
            is_late.set()
            drive.close()

        timer = threading.Timer(_PATIENCE, end_calls)
        timer.daemon = True
        timer.start()
        try:
            owner = require_owner(drive, email)
            # A login may allow less than its scopes promise.
            drive.new_ids(1)
            next(drive.search("'me' in owners", max_files=1), None)
            free, told = drive.free_space(), drive.server_time()
        except LoginError:
            raise
        except TransportError as error:
            if not is_late.is_set():
                raise
            raise UnavailableError(
                f"Google Drive did not respond within {_PATIENCE:.0f} s",
                hint="Check the connection to the internet, and whether a proxy is needed.",
            ) from error
        finally:
            timer.cancel()
    return DriveFacts(owner, account.source, free, (told, clock.now()) if told else None)
