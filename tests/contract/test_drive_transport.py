"""Behaviour that only the Google Drive transport has: continued uploads, recovery from a full drive, and polls."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

import pytest
from drivekit.storage import DriveStorage
from waiting import eventually

from syft_flwr.emulators.gdrive import Fault
from syft_flwr.errors import NotFoundError, StorageFullError, UnavailableError
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED
from syft_flwr.transport._gdrive.streams.download_cache import SMALL
from syft_flwr.transport.gdrive import GDriveTransport

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
FOLDER = f"{DO}/app_data/flwr/app/objects"
NAME = f"{FOLDER}/ab/one.blob"
SIZE = 1 << 30


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[DriveStorage]:
    storage = DriveStorage(tmp_path / "drive", DS, [DO, OTHER])
    yield storage
    storage.close()


@pytest.fixture
def do(drive: DriveStorage) -> Iterator[GDriveTransport]:
    with closing(drive.open(DO)) as transport:
        yield transport


_UPLOAD = """
import os, sys
from pathlib import Path
from syft_flwr.config import load_settings
from syft_flwr.transport.opening import open_transport

token, api, home, name, size = sys.argv[1:]
chosen = {"transport": "p2p", "gdrive_token_path": token, "gdrive_api": api, "poll_interval": 1}
settings = load_settings(environ={}, email="do@y.org", home=home, **chosen)
drive = open_transport(settings, peers=["ds@x.org"], live=False)
drive.put(name, bytes(range(256)) * (int(size) // 256), readers=["ds@x.org"])
drive.close()
"""


def test_upload_of_a_killed_process_is_continued(drive: DriveStorage, tmp_path: Path) -> None:
    # Two pieces of 16 MiB and a shorter one.
    size = 40 << 20
    token = str(drive.token(DO))
    command = [sys.executable, "-c", _UPLOAD, token, drive.emulator.url, str(tmp_path / "home"), NAME, str(size)]
    process = subprocess.Popen(command)
    drive.emulator.inject(Fault("run", method="upload.chunk", after=1, action=lambda _: process.send_signal(SIGKILL)))
    assert process.wait(60) == -SIGKILL
    sent = drive.emulator.meter(DO).bytes_up
    assert 16 << 20 <= sent < size

    assert subprocess.run(command, timeout=60, check=False).returncode == 0

    assert drive.emulator.meter(DO).bytes_up - sent <= size - (16 << 20)
    files = [file for file in drive.emulator.files(DO) if file.name == NAME]
    assert len(files) == 1
    assert drive.emulator.content(files[0].id) == bytes(range(256)) * (size // 256)


@pytest.mark.parametrize("size", [7, SMALL + 1])
def test_same_object_id_of_two_owners_is_read_apart(drive: DriveStorage, do: GDriveTransport, size: int) -> None:
    """The cache of downloads is one for all peers, in memory and on disk."""
    names = [NAME, NAME.replace(DO, OTHER)]
    contents = [letter * size for letter in (b"a", b"b")]
    with closing(drive.open(OTHER)) as other, closing(drive.open(DS)) as ds:
        for end, name, content in zip((do, other), names, contents, strict=True):
            end.put(name, content, readers=[DS])
        for _ in range(2):
            eventually(lambda: all(is_there(ds, name) for name in names), "both files")
            assert [ds.get(name, max_size=2 * size) for name in names] == contents


def test_file_written_during_a_poll_is_found(drive: DriveStorage, do: GDriveTransport) -> None:
    """A file that is written while a poll runs is found by a later poll.

    A poll asks Drive for the next file and for the folder in one batch. The response for the folder can be newer, and
    announce a file that was missing a moment before. The poll must not skip that file.
    """
    do.put(f"{DO}/public/card.json", b"card", readers=["*"])
    with closing(drive.open(DS)) as ds:
        assert ds.get(f"{DO}/public/card.json", max_size=SIZE) == b"card"
        folder = next(file.id for file in drive.emulator.files(DO) if "stream 1" in file.properties.values())

        def come_between(_: object) -> None:
            do.put(f"{FOLDER}/cd/two.blob", b"gone", readers=[DS])
            do.delete(f"{FOLDER}/cd/two.blob")
            do.put(NAME, b"content", readers=[DS])
            do._outbox.flush()

        # The request for the folder fails once, so the client repeats it after the rest of the batch.
        failing = drive.emulator.inject(
            Fault("error", method="files.get", user=DS, predicate=lambda call: call.file_id == folder)
        )
        between = drive.emulator.inject(
            Fault("run", method="batch", user=DS, predicate=lambda _: bool(failing.fired), action=come_between)
        )
        eventually(lambda: is_there(ds, NAME), "the file")
        assert between.fired
        assert ds.get(NAME, max_size=SIZE) == b"content"


def is_there(transport: GDriveTransport, name: str) -> bool:
    try:
        return bool(transport.stat(name))
    except NotFoundError:
        return False


def test_all_files_arrive_in_several_announcements(drive: DriveStorage, do: GDriveTransport) -> None:
    names = {f"{FOLDER}/{number % 256:02x}/{number}.blob" for number in range(2 * ANNOUNCED + 5)}
    for name in names:
        do.put(name, name.encode(), readers=[DS])

    with closing(drive.open(DS)) as ds:
        found = {entry.name for entry in ds.list(f"{FOLDER}/")}
        assert found == names
        for number in range(ANNOUNCED + 3):
            do.put(f"{FOLDER}/ff/late{number}.blob", b"late", readers=[DS])
        last = f"{FOLDER}/ff/late{ANNOUNCED + 2}.blob"
        with ds.watch([FOLDER]) as watch:
            while not any(entry.name == last for entry in ds.list(f"{FOLDER}/")):
                with_time = watch.wait(1.0)
                assert with_time is not None


def test_full_drive_takes_files_again_after_cleanup(drive: DriveStorage, do: GDriveTransport) -> None:
    do.put(f"{DO}/public/card.json", b"card", readers=["*"])
    drive.emulator.set_storage(DO, 1_000)
    with pytest.raises(StorageFullError) as error:
        do.put(NAME, b"x" * 2_000, readers=[DS])
    assert error.value.hint

    drive.emulator.set_storage(DO, None)
    do.put(NAME, b"x" * 2_000, readers=[DS])

    with closing(drive.open(DS)) as ds:
        assert ds.get(NAME, max_size=SIZE) == b"x" * 2_000


@pytest.mark.parametrize("ending", [b"\r", b"\n", b"\r\n", b"--", b"\r\n--", b"\x00", b"\r\r"])
def test_content_with_any_ending_round_trips(drive: DriveStorage, do: GDriveTransport, ending: bytes) -> None:
    """A MIME boundary starts with a line break.

    Google's own client uses LF alone, so a parser could take a CR at the end of the content as part of the boundary.
    """
    do.put(NAME, b"content" + ending, readers=[DS])

    with closing(drive.open(DS)) as ds:
        assert ds.get(NAME, max_size=SIZE) == b"content" + ending


def test_put_succeeds_after_a_failed_start(drive: DriveStorage) -> None:
    with closing(drive.open(DO)) as first:
        first.put(NAME, b"content", readers=[DS])
    with closing(drive.open(DO)) as second:
        # The search for folders succeeds, and the search for their files fails.
        drive.emulator.inject(Fault("error", method="files.list", user=DO, after=1, times=None))
        with pytest.raises(UnavailableError):
            second.put(NAME, b"content", readers=[DS])
        drive.emulator.heal()

        second.put(NAME, b"content", readers=[DS])

        assert [entry.name for entry in second.list(f"{FOLDER}/")] == [NAME]
    assert drive.names().count(NAME) == 1
