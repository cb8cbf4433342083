"""A Google Drive between the participants of a federation in this process."""

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
        spelt: how the service writes an email.
        unknown: owners that have no account.
    """

    #: Apps run in the process of their data owner.
    workers = False

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
        #: Of the calls alone: what waits between two tries has waited already.
        self._clock = JumpingClock()
        # What a test waits for is the storage, and not its limits.
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
        """Return one participant's end."""
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
        """Return an account's client."""
        return DriveClient(open_account(self.token(email), self.emulator.url), budget=self._budget, clock=self._clock)

    def token(self, email: str) -> Path:
        """Write an account's token file, and return its path."""
        path = self._folder / f"{email}.json"
        self.emulator.write_token(self._spelt.get(email, email), path)
        return path

    def names(self) -> list[str]:
        """Return the names of all files, each as often as it is there."""
        return sorted(file.name for file in self.emulator.files() if not file.mime_type.endswith("folder"))

    def read(self, name: str) -> bytes:
        """Return a file's bytes; empty if it is not there."""
        return next((self.emulator.content(file.id) for file in self.emulator.files() if file.name == name), b"")

    def close(self) -> None:
        self.emulator.close()
