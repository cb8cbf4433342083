"""Shows that files and folders in Google Drive may change during use: by peers, or by their owner in the browser."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from drivekit.storage import DriveStorage
from faultkit.federation import AGGREGATOR, OWNERS
from waiting import eventually

from syft_flwr.emulators.gdrive import Fault
from syft_flwr.errors import NotFoundError, QuotaError, TooLargeError, TransportError
from syft_flwr.transport._gdrive.streams.announcement import MARK, audience_digest
from syft_flwr.transport.gdrive import GDriveTransport

WRITER = OWNERS[0]
CARD = f"{WRITER}/public/syft_flwr.json"
OBJECT = f"{WRITER}/app_data/flwr/app/objects/ab/one.blob"
#: Bytes of a file that the transport writes to disk and does not keep in memory.
LARGE = 6_000_000


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[DriveStorage]:
    storage = DriveStorage(tmp_path / "drive", AGGREGATOR, OWNERS, look=0.2)
    yield storage
    storage.close()


@pytest.fixture
def writer(drive: DriveStorage) -> Iterator[GDriveTransport]:
    with closing(drive.open(WRITER)) as transport:
        yield transport


@pytest.fixture
def reader(drive: DriveStorage) -> Iterator[GDriveTransport]:
    with closing(drive.open(AGGREGATOR)) as transport:
        yield transport


def id_of(drive: DriveStorage, name: str) -> str:
    return next(file.id for file in drive.emulator.files(WRITER) if file.name == name and not file.trashed)


def finds(transport: GDriveTransport, name: str, size: int = LARGE) -> bytes | None:
    try:
        return transport.get(name, max_size=size)
    except NotFoundError:
        return None


def sees(transport: GDriveTransport, name: str) -> bool:
    try:
        return transport.stat(name).size > 0
    except NotFoundError:
        return False


def test_file_that_grew_too_large_is_refused(
    drive: DriveStorage, writer: GDriveTransport, reader: GDriveTransport
) -> None:
    writer.put(CARD, b"card", readers=["*"])
    eventually(lambda: sees(reader, CARD), "the card")
    drive.emulator.overwrite(id_of(drive, CARD), b"x" * LARGE)

    with pytest.raises(TooLargeError):
        reader.get(CARD, max_size=100)


def test_keep_stores_the_new_content_of_a_shrunk_file(
    tmp_path: Path, drive: DriveStorage, writer: GDriveTransport, reader: GDriveTransport
) -> None:
    writer.put(OBJECT, b"x" * LARGE, readers=[AGGREGATOR])
    eventually(lambda: sees(reader, OBJECT), "the object")
    drive.emulator.overwrite(id_of(drive, OBJECT), b"small")

    reader.keep(OBJECT, tmp_path / "kept", max_size=LARGE)

    assert (tmp_path / "kept").read_bytes() == b"small"


def test_briefly_missing_file_is_read_later(
    drive: DriveStorage, writer: GDriveTransport, reader: GDriveTransport
) -> None:
    writer.put(OBJECT, b"content", readers=[AGGREGATOR])
    eventually(lambda: sees(reader, OBJECT), "the object")
    drive.emulator.inject(Fault("error", method="files.download", status=404, reason="notFound", user=AGGREGATOR))

    assert finds(reader, OBJECT) is None
    eventually(lambda: finds(reader, OBJECT) == b"content", "the object again")


def test_file_deleted_in_the_browser_is_written_again(drive: DriveStorage, writer: GDriveTransport) -> None:
    writer.put(CARD, b"card", readers=["*"])
    with closing(drive.client(WRITER)) as browser:
        browser.delete_many([id_of(drive, CARD)])

    for content in (b"second", b"third"):
        writer.put(CARD, content, readers=["*"], replace=True)
        assert drive.read(CARD) == content
    with closing(drive.open(AGGREGATOR)) as reader:
        assert finds(reader, CARD) == b"third"


def test_trashed_folder_is_created_again(drive: DriveStorage, writer: GDriveTransport, reader: GDriveTransport) -> None:
    writer.put(OBJECT, b"content", readers=[AGGREGATOR])
    eventually(lambda: finds(reader, OBJECT) == b"content", "the object")
    digest = audience_digest({AGGREGATOR})
    folders = [file for file in drive.emulator.files(WRITER) if file.properties.get(MARK) == "stream 1"]
    drive.emulator.trash(next(file.id for file in folders if file.properties["readers"] == digest))
    drive.emulator.reset_meters()
    second = OBJECT.replace("one", "two")

    writer.put(second, b"more", readers=[AGGREGATOR])

    assert drive.emulator.meter(WRITER).calls["files.create"] <= 3
    eventually(lambda: finds(reader, second) == b"more", "the second object")


@pytest.mark.parametrize("for_good", [False, True])
def test_lost_unfinished_folder_is_created_again(drive: DriveStorage, for_good: bool) -> None:
    drive.emulator.inject(Fault("sharing_limit", method="permissions.create", user=WRITER))
    with closing(drive.open(WRITER)) as before, pytest.raises(QuotaError):
        before.put(CARD, b"card", readers=["*"])
    (begun,) = (file.id for file in drive.emulator.files(WRITER) if file.properties.get(MARK))
    drive.emulator.trash(begun)
    if for_good:
        with closing(drive.client(WRITER)) as browser:
            browser.delete_many([begun])

    with closing(drive.open(WRITER)) as after:
        after.put(CARD, b"card", readers=["*"])

    assert not next(file for file in drive.emulator.files(WRITER) if file.name == CARD).trashed


def test_emptied_download_folder_is_a_transport_error(
    drive: DriveStorage, writer: GDriveTransport, reader: GDriveTransport
) -> None:
    writer.put(OBJECT, b"x" * LARGE, readers=[AGGREGATOR])
    eventually(lambda: finds(reader, OBJECT) is not None, "the object")
    for path in reader._staging.path.iterdir():
        path.unlink()

    with pytest.raises(TransportError):
        reader.get(OBJECT, max_size=LARGE)

    assert finds(reader, OBJECT) == b"x" * LARGE
