"""Accounts of the Drive emulator, each with its client."""

import hashlib
import io
import random
import threading
from collections.abc import Callable
from pathlib import Path

from syft_flwr.emulators.gdrive import Emulator, Fault
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.auth import GoogleAccount, open_account
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions

ANN, BEN = "ann@x.org", "ben@y.org"
CHUNK = 256 << 10
#: Size in bytes of a file that is uploaded in chunks.
LARGE = (5 << 20) + 3 * CHUNK + 17


class JumpingClock(FakeClock):
    """A clock that jumps to the end of each wait, and records the seconds in ``waits``."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        assert deadline is not None, "this wait has no deadline"
        self.waits.append(deadline - self._elapsed)
        self._elapsed = max(self._elapsed, deadline)


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Person:
    """One account with its client, its own clock, and its folder."""

    def __init__(self, emulator: Emulator, folder: Path, email: str) -> None:
        self.email = email
        self.emulator = emulator
        self.token_path = folder / f"{email}.json"
        emulator.write_token(email, self.token_path)
        self.clock = JumpingClock()
        self.drive = self.open()
        self.home = ""

    def account(self) -> GoogleAccount:
        return open_account(self.token_path, self.emulator.url)

    def open(self, clock: FakeClock | None = None, budget: Budget | None = None) -> DriveClient:
        return DriveClient(self.account(), clock=clock or self.clock, budget=budget, chunk=CHUNK)

    def folder(self) -> str:
        """Return the id of the account's folder; the first call creates it."""
        if not self.home:
            (self.home,) = self.drive.new_ids(1)
            self.drive.create_folder(self.home, "home", {"role": "out"})
        return self.home

    def put(
        self, data: bytes, *, file_id: str = "", name: str = "file.bin", sessions: UploadSessions | None = None
    ) -> DriveFile:
        file_id = file_id or self.drive.new_ids(1)[0]
        return self.drive.create(
            file_id, name, self.folder(), {"k": "v"}, io.BytesIO(data), len(data), md5(data), sessions=sessions
        )

    def read(self, file: DriveFile) -> bytes:
        target = io.BytesIO()
        self.drive.download(file, target)
        return target.getvalue()

    def files(self) -> dict[str, bytes]:
        """Return the content of all files of the account by name; fail if two files have the same name."""
        found = [file for file in self.emulator.files(self.email) if "folder" not in file.mime_type]
        assert len({file.name for file in found}) == len(found), "two files of one name"
        return {file.name: self.emulator.content(file.id) for file in found}

    def fault(self, kind: str, method: str | None = None, times: int | None = 1, **parameters: object) -> Fault:
        return self.emulator.inject(
            Fault(kind, method=method, times=times, user=None if method == "token" else self.email, **parameters)
        )


def run_in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Run a call in a new thread; return the thread and a list that gets its exception."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            raised.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, raised
