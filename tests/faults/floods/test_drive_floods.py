"""Shows that a flood of folders or files in Google Drive delays and hides no file of another participant.

The flood comes from a data owner, or from a stranger who shares folders with the participants. The tests count the calls
that a flood costs, the streams that are read, and the files in memory.
"""

import gc
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from drivekit.accounts import md5
from drivekit.storage import DriveStorage
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation

from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, FILE, MARK, Announcement, audience_digest
from syft_flwr.transport.gdrive import GDriveTransport

FLOODER = "flood@hospital-9.example"
HITS = 10_001
#: Files of the flood in each of these streams: as many as one scan reads.
STREAMS = 4
HONEST = OWNERS[0]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[DriveStorage]:
    with closing(DriveStorage(tmp_path / "drive", AGGREGATOR, [*OWNERS, FLOODER], look=0.2)) as storage:
        storage.emulator.add_user(OUTSIDER)
        yield storage


def stream(client: DriveClient, reader: str) -> tuple[str, str]:
    """Make a stream for one reader; return the id of its folder, and the first announced id."""
    folder, *ids = client.new_ids(1 + ANNOUNCED)
    said = Announcement(audience_digest({reader}), 0, 0, tuple(ids)).encode()
    client.create_folder(folder, "syft-flwr", {key: value for key, value in said.items() if value is not None})
    client.share(folder, reader)
    return folder, ids[0]


def flood_with_folders(drive: DriveStorage, email: str) -> None:
    with closing(drive.client(email)) as client:
        for reader in (AGGREGATOR, HONEST):
            folder, _ = stream(client, reader)
            for _ in range(HITS):
                drive.emulator.duplicate(folder)


def flood_with_files(drive: DriveStorage, email: str) -> None:
    with closing(drive.client(email)) as client:
        for reader in (AGGREGATOR, HONEST):
            folder, file_id = stream(client, reader)
            name, said = NAMES.object(email, "0" * 32), {MARK: FILE, "n": "0", "low": "0"}
            client.create(file_id, name, folder, said, io.BytesIO(b"flood"), 5, md5(b"flood"))
            for _ in range(HITS):
                drive.emulator.duplicate(file_id)


def flood_with_forbidden_names(drive: DriveStorage, email: str) -> None:
    with closing(drive.client(email)) as client:
        folder, file_id = stream(client, AGGREGATOR)
        name, said = f"{HONEST}/public/syft_flwr.json", {MARK: FILE, "n": "0", "low": "0"}
        client.create(file_id, name, folder, said, io.BytesIO(b"flood"), 5, md5(b"flood"))
        for _ in range(HITS):
            drive.emulator.duplicate(file_id)


Flood = Callable[[DriveStorage, str], None]
FLOODS = [flood_with_folders, flood_with_files, flood_with_forbidden_names]


@pytest.mark.parametrize(("flood", "email"), [*[(flood, FLOODER) for flood in FLOODS], (flood_with_folders, OUTSIDER)])
def test_rounds_go_on_in_a_flood(
    tmp_path: Path, drive: DriveStorage, flood: Flood, email: str, logged: list[str]
) -> None:
    flood(drive, email)
    drive.emulator.reset_meters()
    before = _files_in_memory()
    with Federation(tmp_path / "homes", drive, emails=OWNERS) as federation:
        federation.start()
        for number in (1, 2, 3):
            assert [answer["messages"] for answer in federation.assert_served()] == [number] * 2
        assert _files_in_memory() - before < HITS + 1_000
    # A page of a search has a thousand hits, so the flood alone would fill ten of them in each search.
    calls = {each: drive.emulator.meter(each).calls for each in (AGGREGATOR, *OWNERS)}
    assert all(call["files.list"] < 40 for call in calls.values()), calls
    about = [line for line in logged if email in line]
    assert len(about) <= 25
    assert not [line for line in logged if line.startswith("ERROR")]
    if email == OUTSIDER:
        assert about == []


def _files_in_memory() -> int:
    gc.collect()
    return sum(isinstance(found, DriveFile) for found in gc.get_objects())


def test_flood_costs_each_search_few_calls(drive: DriveStorage) -> None:
    card = f"{HONEST}/public/syft_flwr.json"
    with closing(drive.open(HONEST)) as honest:
        honest.put(card, b"true", readers=["*"])
    calm = _calls_of_a_search(drive, card)
    flood_with_folders(drive, FLOODER)
    flooded = _calls_of_a_search(drive, card)
    # The shared search in which the flood shows, and two pages of its own.
    assert flooded["files.list"] <= calm["files.list"] + 4
    assert flooded["files.get"] <= calm["files.get"] + 20


def _calls_of_a_search(drive: DriveStorage, card: str) -> Counter[str]:
    drive.emulator.reset_meters()
    with closing(GDriveTransport(*_account(drive), peers=[*OWNERS, FLOODER])) as transport:
        assert transport.get(card, max_size=100) == b"true"
    return Counter(drive.emulator.meter(AGGREGATOR).calls)


def _account(drive: DriveStorage) -> tuple[DriveClient, str, Path]:
    return drive.client(AGGREGATOR), AGGREGATOR, drive.token(AGGREGATOR).with_name("home of the search")
