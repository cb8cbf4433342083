"""Measures the start of a participant with and without a flood of files and folders, and renders it in Markdown.

Over SyftBox, the start watches the folders of a data owner, lists its objects and the inbox, and reads its key card. Over
Google Drive (the emulator), it searches for the streams of fifty data owners and reads a key card.
"""

import hashlib
import io
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import psutil

from measuring.plan import write_seconds
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


@dataclass(frozen=True, slots=True)
class Start:
    """The cost of one start: seconds of the processor, bytes of memory, and calls of Drive by their kind."""

    transport: str
    flood: str
    seconds: float
    grown: int
    calls: dict[str, int]


_Calls = dict[str, int]


def measure(number: int) -> list[Start]:
    """Return the start without a flood and with each kind of flood of so many files, folders or cards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folders = (Path(tempfile.mkdtemp(dir=name)) for _ in count())
        return [
            *(_over_syftbox(next(folders), flood, number) for flood in (None, *_SYFTBOX_FLOODS)),
            *(_over_drive(next(folders), flood, number) for flood in (None, *_DRIVE_FLOODS)),
        ]


def render(starts: Sequence[Start]) -> str:
    """Return a table with one row for each start."""
    rows = [["over", "flood", "CPU time", "more memory", "calls of Drive"], ["---"] * 5]
    for each in starts:
        calls = ", ".join(f"{times} `{kind}`" for kind, times in sorted(each.calls.items()))
        rows.append(
            [each.transport, each.flood, write_seconds(each.seconds), f"{max(each.grown, 0) / 1e6:.1f} MB", calls]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _measure(transport: str, flood: str | None, start: Callable[[], _Calls]) -> Start:
    process = psutil.Process()
    memory, spent = process.memory_info().rss, time.process_time()
    calls = start()
    spent = time.process_time() - spent
    return Start(transport, flood or "none", spent, process.memory_info().rss - memory, calls)


# SyftBox


def _over_syftbox(folder: Path, flood: str | None, number: int) -> Start:
    datasites = folder / "datasites"
    with closing(SyftBoxTransport(folder, _HONEST)) as honest:
        honest.put(card(_HONEST), b"card", readers=["*"])
    if flood:
        _SYFTBOX_FLOODS[flood](datasites, number)

    def start() -> _Calls:
        inbox = _NAMES.messages(_ME)
        with closing(SyftBoxTransport(folder, _ME)) as transport:
            watched = [inbox, *(_NAMES.objects(email) for email in (_HONEST, _FLOODER)), f"{_HONEST}/public/"]
            with transport.watch(watched):
                listed = list(islice(transport.list(inbox), MAX_LISTED))
                listed += islice(transport.list(_NAMES.objects(_FLOODER)), MAX_OBJECT_FILES)
                assert transport.get(card(_HONEST), max_size=100) == b"card"
        return {}

    return _measure("SyftBox", flood, start)


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


_SYFTBOX_FLOODS: dict[str, Callable[[Path, int], None]] = {
    "objects of a data owner": _write_objects,
    "requests of a stranger": _write_requests,
    "folders of a data owner": _make_folders,
    "key cards of strangers": _write_cards,
}

# Google Drive


@contextmanager
def _client(emulator: Emulator, folder: Path, email: str) -> Iterator[DriveClient]:
    token = folder / f"{email}.json"
    emulator.write_token(email, token)
    budget = Budget(1e12, _UNLIMITED, _UNLIMITED)
    with closing(DriveClient(open_account(token, emulator.url), budget=budget)) as client:
        yield client


def _over_drive(folder: Path, flood: str | None, number: int) -> Start:
    with Emulator(users=[_ME, _HONEST, _FLOODER, *_OTHERS]) as emulator:
        with _client(emulator, folder, _HONEST) as client:
            transport = GDriveTransport(client, _HONEST, folder / "honest", peers=[_ME])
            with closing(transport):
                transport.put(card(_HONEST), b"card", readers=["*"])
        if flood:
            with _client(emulator, folder, _FLOODER) as client:
                _DRIVE_FLOODS[flood](emulator, client, number)

        def start() -> _Calls:
            emulator.reset_meters()
            with _client(emulator, folder, _ME) as client:
                transport = GDriveTransport(client, _ME, folder / "me", peers=[_HONEST, _FLOODER, *_OTHERS])
                with closing(transport):
                    assert transport.get(card(_HONEST), max_size=100) == b"card"
            return dict(emulator.meter(_ME).calls)

        return _measure("Google Drive", flood, start)


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


_DRIVE_FLOODS: dict[str, Callable[[Emulator, DriveClient, int], None]] = {
    "folders of a data owner": _share_folders,
    "files of a data owner": _share_files,
}
