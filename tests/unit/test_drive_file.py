"""The parser of Drive's file metadata refuses values that could reach another file, address or participant."""

import json
from pathlib import Path
from typing import BinaryIO

import pytest
from drivekit.accounts import Person, md5

from syft_flwr.emails import fold
from syft_flwr.emulators.gdrive import Fault
from syft_flwr.errors import TransportError
from syft_flwr.names import MAX_NAME_LENGTH
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, read_resource
from syft_flwr.transport._gdrive.api.http_request import Answer
from syft_flwr.transport._gdrive.streams.download_cache import SMALL, DownloadCache

ID = "1" + "x" * 32
#: The letter K of the Kelvin scale, which is an ASCII "k" in lower case.
KELVIN = "\N{KELVIN SIGN}"


def parse(**fields: object) -> DriveFile:
    body = json.dumps({"id": ID, "name": "do@y.org/x.json", **fields}).encode()
    return read_resource(Answer(200, {}, body, None), "look", ID).file()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../../etc/passwd"),
        ("id", f"{ID}/x"),
        ("id", f"{ID}\n"),
        ("id", ID[:-1] + "y"),
        ("md5Checksum", "0-1/../../.ssh/known_hosts"),
        ("md5Checksum", "0" * 31),
        ("md5Checksum", "\N{ARABIC-INDIC DIGIT ZERO}" * 32),
        ("size", -1),
        ("size", "9" * 4_000),
        ("parents", ["x' or 'me' in owners"]),
        ("parents", [ID] * 1_001),
        ("createdTime", "2030-01-01T00:00:00Z\x1b[2J"),
        ("mimeType", "x" * 257),
        ("version", "9" * 30),
    ],
)
def test_field_of_another_form_is_refused(field: str, value: object) -> None:
    with pytest.raises(
        TransportError, match=rf"unexpected form \({field.partition('Ch')[0].partition('T')[0]}"
    ) as error:
        parse(**{field: value})
    assert str(value)[:20] not in str(error.value).replace(ID, "")


@pytest.mark.parametrize("name", ["", "x" * 100_000, "../../etc/passwd", "\x1b]52;c;eA==\a", "\ud800"])
def test_any_name_of_a_peer_is_read_and_bounded(name: str) -> None:
    if name == "\ud800":
        with pytest.raises(TransportError, match="unexpected form"):
            parse(name=name)
        return
    assert len(parse(name=name).name) <= MAX_NAME_LENGTH + 1


def test_email_with_a_foreign_letter_is_no_participant() -> None:
    assert parse(owners=[{"emailAddress": "KIM@x.org"}]).owner == "kim@x.org"
    assert parse(owners=[{"emailAddress": f"{KELVIN}im@x.org"}]).owner != "kim@x.org"
    assert fold(f"{KELVIN}im@x.org") == f"{KELVIN}im@x.org"


@pytest.mark.parametrize("hostile", ["../victim-1", "a/../../victim", "/tmp/victim"])
def test_file_of_the_cache_has_a_name_of_our_own(tmp_path: Path, hostile: str) -> None:
    cached, data = tmp_path / "cached", b"x" * (SMALL + 1)
    cached.mkdir()
    (tmp_path / "victim-1").write_bytes(b"mine")
    (tmp_path / "victim").write_bytes(b"mine")

    def download(file: DriveFile, target: BinaryIO) -> None:
        target.write(data)

    cache = DownloadCache(cached, download)
    file = DriveFile(hostile, "n", "a@x.org", len(data), hostile, False, {}, (), "", 1)
    with cache.open(file) as content:
        assert content.read() == data
    assert len(list(cached.iterdir())) == 1
    cache.forget(hostile)
    assert not list(cached.iterdir())
    assert {path.read_bytes() for path in tmp_path.glob("victim*")} == {b"mine"}


def test_failed_download_leaves_no_file(tmp_path: Path) -> None:
    def download(file: DriveFile, target: BinaryIO) -> None:
        raise TransportError("no network")

    cache = DownloadCache(tmp_path, download)
    with pytest.raises(TransportError, match="no network"):
        cache.open(DriveFile(ID, "n", "a@x.org", SMALL + 1, md5(b""), False, {}, (), "", 1))
    assert not list(tmp_path.iterdir())


def answer(ann: Person, method: str, **page: object) -> None:
    """Let the emulator answer every call of a method with this JSON object."""
    ann.emulator.inject(Fault("error", method=method, times=None, status=200, page=json.dumps(page)))


def test_answer_about_another_file_is_refused(ann: Person) -> None:
    file = ann.put(b"content")
    answer(ann, "files.get", id="2" + "x" * 32, name="other", size="1")
    with pytest.raises(TransportError, match=r"unexpected form \(id: another file\)"):
        ann.drive.get(file.id)


@pytest.mark.parametrize("token", ["", "a\r\nb", "é", "x" * 5_000])
def test_page_token_of_another_form_is_refused(ann: Person, token: str) -> None:
    answer(ann, "files.list", files=[], nextPageToken=token)
    with pytest.raises(TransportError, match=r"unexpected form \((nextPageToken|following)"):
        list(ann.drive.search("trashed = false"))


def test_search_without_an_end_is_given_up(ann: Person) -> None:
    answer(ann, "files.list", files=[], nextPageToken="again")
    ann.emulator.reset_meters()
    with pytest.raises(TransportError, match="did not end after 200 pages"):
        list(ann.drive.search("trashed = false"))
    assert ann.emulator.meter(ann.email).http == 200


def test_new_ids_of_another_form_are_refused(ann: Person) -> None:
    answer(ann, "files.generateIds", ids=["../../x"])
    with pytest.raises(TransportError, match=r"unexpected form \(ids"):
        ann.drive.new_ids(1)
