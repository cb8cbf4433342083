"""Shows that the Google Drive transport handles odd emails, crowded and duplicate folders, and malicious peers."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from drivekit.accounts import md5
from drivekit.storage import DriveStorage
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from waiting import eventually

from syft_flwr.errors import NotFoundError, RefusedError
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, FILE, MARK, Announcement, audience_digest
from syft_flwr.transport.gdrive import GDriveTransport

SIZE = 1 << 20
OUTSIDER = "evil@y.example"
VICTIM, HONEST = OWNERS
TYPO = "do2@hospital-2.exmaple"


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[DriveStorage]:
    storage = DriveStorage(tmp_path / "drive", AGGREGATOR, OWNERS, look=0.2)
    storage.emulator.add_user(OUTSIDER)
    yield storage
    storage.close()


# Odd emails


@pytest.mark.parametrize(
    ("aggregator", "owners"),
    [
        ("o'neil+fl@x.example", ["jane_doe@hospital.example", "j.d'arc@y-z.example"]),
        ("ds@x.example", ["a_b_c@to-x.example", "to_@b-c.to.example"]),
    ],
)
def test_emails_with_odd_characters_take_part(tmp_path: Path, aggregator: str, owners: list[str]) -> None:
    with (
        closing(DriveStorage(tmp_path / "drive", aggregator, owners)) as storage,
        Federation(tmp_path / "homes", storage, emails=owners, aggregator=aggregator) as federation,
    ):
        federation.start()
        for _ in range(2):
            federation.assert_served()


def test_case_of_an_account_email_is_ignored(tmp_path: Path) -> None:
    """Google reports an email in the spelling of its owner."""
    aggregator, owner = "ds@x.example", "jane.doe@hospital.example"
    with (
        closing(
            DriveStorage(tmp_path / "drive", aggregator, [owner], spelt={owner: "Jane.Doe@Hospital.example"})
        ) as storage,
        Federation(tmp_path / "homes", storage, emails=[owner], aggregator=aggregator) as federation,
    ):
        federation.start()
        federation.assert_served()


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        (f"{AGGREGATOR}/public/syft_flwr.json", ["*"]),
        (f"{AGGREGATOR}/app_data/flwr/app/objects/ab/one.blob", [TYPO]),
        (f"{AGGREGATOR}/app_data/flwr/app/objects/ab/all.blob", [VICTIM, HONEST, TYPO]),
    ],
)
def test_typo_in_datasites_is_reported_with_the_email(tmp_path: Path, name: str, readers: list[str]) -> None:
    owners = [VICTIM, HONEST, TYPO]
    with (
        closing(DriveStorage(tmp_path / "drive", AGGREGATOR, owners, unknown={TYPO})) as drive,
        closing(drive.open(AGGREGATOR)) as transport,
    ):
        with pytest.raises(RefusedError, match=f"with {re.escape(TYPO)}: the file cannot be shared") as error:
            transport.put(name, b"content", readers=readers)
        assert "Google account" in error.value.hint
        drive.emulator.add_user(TYPO)
        transport.put(name, b"content", readers=readers)


# Crowded and duplicate folders


def card_of(email: str) -> str:
    return f"{email}/public/syft_flwr.json"


def stream_of(drive: DriveStorage, owner: str, reader: str) -> str:
    """Return the id of the folder that ``owner`` made for ``reader`` alone."""
    return next(
        file.id
        for file in drive.emulator.files(owner)
        if file.properties.get(MARK) == "stream 1" and file.properties["readers"] == audience_digest({reader})
    )


def test_many_pages_of_files_hide_no_file(tmp_path: Path, drive: DriveStorage) -> None:
    name = f"{VICTIM}/app_data/flwr/app/objects/ab/one.blob"
    with closing(drive.open(VICTIM)) as writer:
        writer.put(card_of(VICTIM), b"card", readers=["*"])
        card = next(file.id for file in drive.emulator.files(VICTIM) if file.name == card_of(VICTIM))
        for _ in range(1_100):
            drive.emulator.duplicate(card)
        writer.put(name, b"content", readers=[AGGREGATOR])

        with closing(drive.open(AGGREGATOR)) as reader:
            assert reader.get(name, max_size=SIZE) == b"content"
            assert reader.get(card_of(VICTIM), max_size=SIZE) == b"card"


def test_duplicate_folders_repeat_no_message(tmp_path: Path, drive: DriveStorage) -> None:
    with Federation(tmp_path / "homes", drive, emails=OWNERS) as federation:
        federation.start()
        federation.assert_served()
        for owner, reader in ((AGGREGATOR, VICTIM), (VICTIM, AGGREGATOR)):
            drive.emulator.duplicate(stream_of(drive, owner, reader))
        for file in drive.emulator.files():
            if "/messages/" in file.name or "/public/" in file.name:
                drive.emulator.duplicate(file.id)

        for number in (2, 3):
            assert [answer["messages"] for answer in federation.assert_served()] == [number] * 2


# Malicious peers


class Villain:
    """An account of a malicious user, which writes to Drive without our transport."""

    def __init__(self, drive: DriveStorage, email: str) -> None:
        self.email = email
        self.client: DriveClient = drive.client(email)

    def folder(self, properties: Mapping[str, str], *readers: str) -> str:
        (folder,) = self.client.new_ids(1)
        self.client.create_folder(folder, "syft-flwr", properties)
        for reader in readers:
            self.client.share(folder, reader)
        return folder

    def stream(self, *readers: str, ids: tuple[str, ...] = (), **properties: str) -> tuple[str, list[str]]:
        """Create a stream for these readers, and return the folder and the file ids that it announces."""
        announced = list(ids) or self.client.new_ids(ANNOUNCED)
        said = Announcement(audience_digest(readers), 0, 0, tuple(announced)).encode()
        return self.folder(
            {key: value for key, value in said.items() if value is not None} | properties, *readers
        ), announced

    def file(self, folder: str, file_id: str, name: str, content: bytes, **properties: str) -> None:
        said = {MARK: FILE, "n": "0", "low": "0", **properties}
        self.client.create(file_id, name, folder, said, io.BytesIO(content), len(content), md5(content))


@pytest.fixture
def villain(drive: DriveStorage) -> Iterator[Callable[[str], Villain]]:
    made: list[Villain] = []

    def make(email: str) -> Villain:
        made.append(Villain(drive, email))
        return made[-1]

    yield make
    for each in made:
        each.client.close()


@pytest.fixture
def reader(drive: DriveStorage) -> Iterator[GDriveTransport]:
    with closing(drive.open(AGGREGATOR)) as transport:
        yield transport


FORGED = [
    card_of(HONEST),
    card_of(AGGREGATOR),
    f"{HONEST}/app_data/flwr/app/rpc/messages/{AGGREGATOR}/{'0' * 32}.response",
    f"{HONEST}/app_data/flwr/app/status/heartbeat.request",
    f"{AGGREGATOR}/app_data/flwr/app/rpc/messages/{HONEST}/{'0' * 32}.request",
    f"{AGGREGATOR}/app_data/flwr/app/rpc/messages/{VICTIM}/../{HONEST}/{'0' * 32}.request",
    f"{VICTIM}/../{HONEST}/public/syft_flwr.json",
    f"../{card_of(HONEST)}",
    f"/{card_of(HONEST)}",
    f"{VICTIM}/one.tmp",
    f"{VICTIM}/" + "x" * 4_000,
    f"{VICTIM}/a\nb.json",
    "\u202egnp.exe",
    "",
]


def test_peer_cannot_write_in_the_name_of_another(
    drive: DriveStorage, reader: GDriveTransport, villain: Callable[[str], Villain], logged: list[str]
) -> None:
    with closing(drive.open(HONEST)) as honest:
        honest.put(card_of(HONEST), b"true", readers=["*"])
    evil = villain(VICTIM)
    folder, ids = evil.stream(AGGREGATOR)
    for number, name in enumerate(FORGED):
        evil.file(folder, ids[number], name or "x", b"forged", n=str(number), low=str(number))
    last = len(FORGED)
    evil.file(folder, ids[last], card_of(VICTIM), b"its own", n=str(last), low=str(last))

    eventually(lambda: reader_finds(reader, card_of(VICTIM)) == b"its own", "the card of the malicious peer")

    assert reader_finds(reader, card_of(HONEST)) == b"true"
    for name in FORGED[1:5]:
        assert reader_finds(reader, name) is None
    for prefix in (f"{HONEST}/", f"{AGGREGATOR}/"):
        assert [entry.name for entry in reader.list(prefix) if entry.size == len(b"forged")] == []
    ignored = [line for line in logged if "is ignored" in line and "its owner may not write the name" in line]
    assert len(ignored) == len(FORGED)
    assert all(len(line) < 400 for line in ignored)


def reader_finds(reader: GDriveTransport, name: str) -> bytes | None:
    try:
        return reader.get(name, max_size=SIZE)
    except NotFoundError:
        return None


@pytest.mark.parametrize(
    "said",
    [
        {"n": "-1"},
        {"n": "99999999999999999999999"},
        {"n": "zero"},
        {"n": ""},
        {"n": "5", "low": "999999999999999"},
        {"low": "-7"},
        {"low": "x"},
        {MARK: "file 9"},
    ],
)
def test_false_file_position_is_harmless(
    drive: DriveStorage, reader: GDriveTransport, villain: Callable[[str], Villain], said: dict[str, str]
) -> None:
    evil = villain(VICTIM)
    folder, ids = evil.stream(AGGREGATOR)
    evil.file(folder, ids[0], f"{VICTIM}/app_data/first.json", b"first", **said)
    assert reader_finds(reader, f"{VICTIM}/app_data/nothing.json") is None

    evil.file(folder, ids[1], card_of(VICTIM), b"card", n="1", low="1")

    eventually(lambda: reader_finds(reader, card_of(VICTIM)) == b"card", "the next file")


@pytest.mark.parametrize(
    "properties",
    [
        {"base": "-1"},
        {"next": "999999999999999"},
        {"base": "999999999999999", "next": "999999999999999"},
        {"ids00": "' or 'me' in owners or name = '"},
        {"readers": "x" * 100},
        {"readers": ""},
    ],
)
def test_false_folder_announcement_is_harmless(
    drive: DriveStorage, reader: GDriveTransport, villain: Callable[[str], Villain], properties: dict[str, str]
) -> None:
    evil = villain(VICTIM)
    evil.stream(AGGREGATOR, **properties)
    with closing(drive.open(HONEST)) as honest:
        assert reader_finds(reader, card_of(VICTIM)) is None
        honest.put(card_of(HONEST), b"card", readers=["*"])

        eventually(lambda: reader_finds(reader, card_of(HONEST)) == b"card", "the honest peer's file")


def test_announced_foreign_files_are_not_accepted(
    drive: DriveStorage, reader: GDriveTransport, villain: Callable[[str], Villain]
) -> None:
    mine = f"{AGGREGATOR}/app_data/flwr/app/objects/ab/mine.blob"
    with closing(drive.open(HONEST)) as honest:
        honest.put(card_of(HONEST), b"card", readers=["*"])
    reader.put(mine, b"mine", readers=OWNERS)
    foreign = [file.id for file in drive.emulator.files() if file.name in (mine, card_of(HONEST))]
    evil = villain(VICTIM)
    folder, _ = evil.stream(AGGREGATOR, ids=(*foreign, *(own := evil.client.new_ids(3))))
    evil.file(folder, own[0], card_of(VICTIM), b"card", n=str(len(foreign)), low=str(len(foreign)))

    eventually(lambda: reader_finds(reader, card_of(VICTIM)) == b"card", "the card of the malicious peer")

    assert reader_finds(reader, mine) == b"mine"
    assert reader_finds(reader, card_of(HONEST)) == b"card"
    reader.delete(mine)
    assert reader_finds(reader, mine) is None


def test_folders_of_a_stranger_are_not_read(
    tmp_path: Path, drive: DriveStorage, villain: Callable[[str], Villain]
) -> None:
    stranger = villain(OUTSIDER)
    folder, ids = stranger.stream(AGGREGATOR)
    stranger.client.share(folder, VICTIM)
    for number, name in enumerate(FORGED[:5]):
        stranger.file(folder, ids[number], name, b"forged", n=str(number), low=str(number))
    for _ in range(30):
        stranger.stream(AGGREGATOR, VICTIM)

    with Federation(tmp_path / "homes", drive, emails=OWNERS) as federation:
        federation.start()
        for _ in range(2):
            federation.assert_served()

    downloads = [r for r in drive.emulator.requests if r.method == "files.download" and r.user != OUTSIDER]
    forged = {file.id for file in drive.emulator.files(OUTSIDER)}
    assert downloads
    assert not [r for r in downloads if r.file_id in forged]


def test_number_of_streams_of_one_peer_is_limited(
    drive: DriveStorage, reader: GDriveTransport, villain: Callable[[str], Villain]
) -> None:
    evil = villain(VICTIM)
    first, _ = evil.stream(AGGREGATOR)
    for _ in range(300):
        drive.emulator.duplicate(first)
    with closing(drive.open(HONEST)) as honest:
        honest.put(card_of(HONEST), b"card", readers=["*"])
        eventually(lambda: reader_finds(reader, card_of(HONEST)) == b"card", "the honest peer's file")

    assert len(reader._mirror._finder.streams()) < 100
