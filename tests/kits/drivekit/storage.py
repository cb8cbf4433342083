"""An emulated Google Drive for the participants of a federation in one process."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from drivekit.accounts import JumpingClock
from syft_flwr.emulators.gdrive import Emulator
from syft_flwr.transport._gdrive.api.auth import open_account
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport.gdrive import GDriveTransport


class DriveStorage:
    """An emulator with an account for each participant.

    Args:
        folder: folder for the token files and the homes.
        aggregator: email of the aggregator.
        owners: emails of the data owners.
        poll_interval: seconds between two polls.
        look: seconds between two checks of files without change events.
        spelt: Drive's spelling of an email, where it differs.
        unknown: data owners without an account.
    """

    #: Apps run in the process of their data owner, without workers.
    workers = False
    absence_withdraws = False

    def __init__(
        self,
        folder: Path,
        aggregator: str,
        owners: Sequence[str],
        *,
        poll_interval: float = 0.05,
        look: float = 60.0,
        spelt: Mapping[str, str] | None = None,
        unknown: Collection[str] = (),
    ) -> None:
        #: The clock of the clients only: a wait between two attempts ends at once.
        self._clock = JumpingClock()
        # Limits so high that a test never waits for them.
        self._budget = Budget(1e12, 1e9, 1e9, clock=self._clock)
        everybody = [aggregator, *owners]
        self.emulator = Emulator(users=[(spelt or {}).get(email, email) for email in everybody if email not in unknown])
        self.emulator.start()
        self._folder = folder
        self._spelt = dict(spelt or {})
        self._aggregator = aggregator
        self._owners = list(owners)
        self._poll_interval = poll_interval
        self._look = look
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, email: str) -> GDriveTransport:
        """Return the transport of a participant."""
        peers = self._owners if email == self._aggregator else [self._aggregator]
        return GDriveTransport(
            self.client(email),
            email,
            self._folder / email,
            peers=peers,
            poll_interval=self._poll_interval,
            look=self._look,
            live=True,
        )

    def client(self, email: str) -> DriveClient:
        """Return the client of an account."""
        return DriveClient(open_account(self.token(email), self.emulator.url), budget=self._budget, clock=self._clock)

    def token(self, email: str) -> Path:
        """Write the token file of an account and return its path."""
        path = self._folder / f"{email}.json"
        self.emulator.write_token(self._spelt.get(email, email), path)
        return path

    def names(self) -> list[str]:
        """Return the names of all files, sorted; a name of two files appears twice."""
        return sorted(file.name for file in self.emulator.files() if not file.mime_type.endswith("folder"))

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; empty if the file is missing."""
        return next((self.emulator.content(file.id) for file in self.emulator.files() if file.name == name), b"")

    def close(self) -> None:
        self.emulator.close()
