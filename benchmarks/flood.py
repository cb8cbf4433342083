"""Measure the start of a participant with and without a flood of files and folders of one other participant.

    python benchmarks/flood.py --files 10000

Over SyftBox, the start watches the folders of a data owner, lists its objects and the inbox, and reads its key card. Over
Google Drive (the emulator), it searches for the streams of fifty data owners and reads a key card. The figures are those
of one process: seconds of the processor, and megabytes that the process grew. Over Drive they include the emulator.
"""

import argparse
import hashlib
import io
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import psutil

from syft_flwr._messaging.wire.limits import MAX_LISTED, MAX_OBJECT_FILES
from syft_flwr.emulators.gdrive import Emulator
from syft_flwr.names import AppNames, card
from syft_flwr.transport._gdrive.api.auth import open_account
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, FILE, MARK, Announcement, audience_digest
from syft_flwr.transport.gdrive import GDriveTransport
from syft_flwr.transport.syftbox import SyftBoxTransport

_ME, _HONEST, _FLOODER, _STRANGER = "ds@x.org", "do0@x.org", "do1@x.org", "evil@y.org"
_OTHERS = [f"do{number}@x.org" for number in range(2, 50)]
_NAMES = AppNames("flood")
_UNLIMITED = 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    number: int = parser.parse_args().files
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        root = Path(name)
        for flood in (None, _write_objects, _write_requests, _make_folders, _write_cards):
            _measure("SyftBox", flood, number, root / f"syftbox {flood and flood.__name__}", _start_over_syftbox)
        for flood in (None, _share_folders, _share_files):
            _measure("Drive", flood, number, root / f"drive {flood and flood.__name__}", _start_over_drive)


def _measure(
    transport: str,
    flood: Callable[..., None] | None,
    number: int,
    folder: Path,
    start: Callable[..., Iterator[Callable[[], None]]],
) -> None:
    folder.mkdir()
    title = flood.__name__.strip("_").replace("_", " ") if flood else "no flood"
    for run in start(folder, flood, number):
        process = psutil.Process()
        memory, spent = process.memory_info().rss, time.process_time()
        run()
        spent, memory = time.process_time() - spent, process.memory_info().rss - memory
        print(f"{transport:8} {title:16} {spent:6.2f} s {memory / 1e6:6.1f} MB")


# SyftBox


def _start_over_syftbox(
    folder: Path, flood: Callable[[Path, int], None] | None, number: int
) -> Iterator[Callable[[], None]]:
    datasites = folder / "datasites"
    with closing(SyftBoxTransport(folder, _HONEST)) as honest:
        honest.put(card(_HONEST), b"card", readers=["*"])
    if flood:
        flood(datasites, number)

    def run() -> None:
        inbox = _NAMES.messages(_ME)
        with closing(SyftBoxTransport(folder, _ME)) as transport:
            watched = [inbox, *(_NAMES.objects(email) for email in (_HONEST, _FLOODER)), f"{_HONEST}/public/"]
            with transport.watch(watched):
                listed = list(islice(transport.list(inbox), MAX_LISTED))
                listed += islice(transport.list(_NAMES.objects(_FLOODER)), MAX_OBJECT_FILES)
                assert transport.get(card(_HONEST), max_size=100) == b"card"

    yield run


def _write_objects(datasites: Path, number: int) -> None:
    for place in range(number):
        _write(datasites / _NAMES.object(_FLOODER, f"{secrets.token_hex(15)}{place % 256:02x}"))


def _write_requests(datasites: Path, number: int) -> None:
    for _ in range(number):
        _write(datasites / _NAMES.request(_ME, _STRANGER, secrets.token_hex(16)))


def _make_folders(datasites: Path, number: int) -> None:
    for place in range(number):
        (datasites / _NAMES.objects(_FLOODER) / f"w{place}").mkdir(parents=True)


def _write_cards(datasites: Path, number: int) -> None:
    for place in range(number):
        _write(datasites / card(f"s{place}@y.org"))


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"flood")


# Google Drive


@contextmanager
def _client(emulator: Emulator, folder: Path, email: str) -> Iterator[DriveClient]:
    token = folder / f"{email}.json"
    emulator.write_token(email, token)
    budget = Budget(1e12, _UNLIMITED, _UNLIMITED)
    with closing(DriveClient(open_account(token, emulator.url), budget=budget)) as client:
        yield client


def _start_over_drive(
    folder: Path, flood: Callable[[Emulator, DriveClient, int], None] | None, number: int
) -> Iterator[Callable[[], None]]:
    with Emulator(users=[_ME, _HONEST, _FLOODER, *_OTHERS]) as emulator:
        with _client(emulator, folder, _HONEST) as client:
            transport = GDriveTransport(client, _HONEST, folder / "honest", peers=[_ME])
            with closing(transport):
                transport.put(card(_HONEST), b"card", readers=["*"])
        if flood:
            with _client(emulator, folder, _FLOODER) as client:
                flood(emulator, client, number)

        def run() -> None:
            emulator.reset_meters()
            with _client(emulator, folder, _ME) as client:
                transport = GDriveTransport(client, _ME, folder / "me", peers=[_HONEST, _FLOODER, *_OTHERS])
                with closing(transport):
                    assert transport.get(card(_HONEST), max_size=100) == b"card"
            print(f"         calls: {dict(emulator.meter(_ME).calls)}")

        yield run


def _stream(client: DriveClient) -> tuple[str, str]:
    folder, *ids = client.new_ids(1 + ANNOUNCED)
    said = Announcement(audience_digest({_ME}), 0, 0, tuple(ids)).encode()
    client.create_folder(folder, "syft-flwr", {key: value for key, value in said.items() if value is not None})
    client.share(folder, _ME)
    return folder, ids[0]


def _share_folders(emulator: Emulator, client: DriveClient, number: int) -> None:
    folder, _ = _stream(client)
    for _ in range(number):
        emulator.duplicate(folder)


def _share_files(emulator: Emulator, client: DriveClient, number: int) -> None:
    folder, file_id = _stream(client)
    data = b"flood"
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    said = {MARK: FILE, "n": "0", "low": "0"}
    client.create(file_id, _NAMES.object(_FLOODER, "0" * 32), folder, said, io.BytesIO(data), len(data), digest)
    for _ in range(number):
        emulator.duplicate(file_id)


if __name__ == "__main__":
    main()
