"""The places that all peers share in the Drive transport: a peer with very many files takes none of another's."""

import random
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams import catalogue as catalogues
from syft_flwr.transport._gdrive.streams import download_cache
from syft_flwr.transport._gdrive.streams.announcement import FILE, MARK, Announcement, audience_digest
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.download_cache import DownloadCache
from syft_flwr.transport._gdrive.streams.mirror import Mirror
from syft_flwr.transport._gdrive.streams.notifier import Notifier
from syft_flwr.transport._gdrive.streams.poll_targets import PollTargets
from syft_flwr.transport._gdrive.streams.shelf import Shelf
from syft_flwr.transport._gdrive.streams.turns import in_turn
from syft_flwr.transport._gdrive.streams.visible_files import VisibleFiles

ME, EVIL, HONEST, THIRD = "ds@x.org", "evil@x.org", "honest@x.org", "third@x.org"


def file(owner: str, number: int, size: int = 1) -> DriveFile:
    file_id = f"{owner.partition('@')[0]:0<10}{number:08}"
    name = f"{owner}/app_data/flwr/app/objects/ab/{number}.blob"
    return DriveFile(file_id, name, owner, size, f"{number:032}", False, {}, (), "2030", 1)


def test_each_owner_has_its_turn() -> None:
    items = ["a1", "a2", "a3", "b1", "c1", "c2"]
    assert list(in_turn(items, lambda item: item[0])) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert list(in_turn([None, None], lambda _: "")) == [None, None]


# The catalogue


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.setattr(catalogues, "MOST_FILES", 100)
    monkeypatch.setattr(catalogues, "_MOST_GONE", 100)
    return Catalogue(ME)


def test_peer_cannot_push_files_out_of_the_catalogue(catalogue: Catalogue) -> None:
    card, theirs = file(EVIL, 0), file(HONEST, 0)
    for known in (card, theirs):
        assert catalogue.add(known, 0, ours=False)
    for number in range(1, 10_000):
        assert catalogue.add(file(EVIL, number), number, ours=False)
        assert catalogue.get(card.name, want=True) == card
    assert catalogue.get(theirs.name) == theirs
    assert len(catalogue.below(f"{EVIL}/")) == 100
    assert catalogue.drop(file(EVIL, 1).id) is None


def test_own_files_have_no_budget(catalogue: Catalogue) -> None:
    for number in range(500):
        catalogue.add(file(ME, number), number, ours=number % 2 == 0)
    assert len(catalogue.below(f"{ME}/")) == 500


def test_deletions_of_a_peer_hide_none_of_another(catalogue: Catalogue) -> None:
    catalogue.add(file(HONEST, 0), 0, ours=False)
    assert catalogue.drop(file(HONEST, 0).id)
    for number in range(1_000):
        catalogue.add(file(EVIL, number), number, ours=False)
        catalogue.drop(file(EVIL, number).id)
    assert catalogue.went(file(HONEST, 0).name)
    assert catalogue.went(file(EVIL, 999).name)
    assert not catalogue.went(file(EVIL, 0).name)


def test_wanted_files_of_each_owner_are_taken_in_turn(catalogue: Catalogue) -> None:
    for number in range(80):
        catalogue.add(file(EVIL, number), number, ours=False)
    for owner in (HONEST, THIRD):
        catalogue.add(file(owner, 0), 0, ours=False)
    for name in [known.name for known in catalogue.below("")]:
        catalogue.get(name, want=True)
    taken = catalogue.take_wanted(64)
    assert {known.owner for known in taken[:3]} == {EVIL, HONEST, THIRD}
    assert {known.owner for known in catalogue.take_wanted(64)} == {EVIL}
    assert catalogue.take_wanted(64) == []


def test_files_to_look_at_are_chosen_by_owner(catalogue: Catalogue) -> None:
    for number in range(80):
        catalogue.add(file(EVIL, number), number, ours=False)
    catalogue.add(file(HONEST, 0), 0, ours=False)
    catalogue.get(file(EVIL, 77).name, want=True)
    owners = {EVIL, HONEST}
    chosen = [catalogue.one_of_others(owners, turn) for turn in range(8)]
    assert [known.owner for known in chosen if known] == [EVIL, HONEST] * 4
    assert len({known.id for known in chosen if known and known.owner == EVIL}) == 4
    looked_at = catalogue.of_others(owners, 5)
    assert [known.owner for known in looked_at] == [EVIL] * 5 + [HONEST]
    assert looked_at[0].id == file(EVIL, 77).id
    assert catalogue.one_of_others({THIRD}, 3) is None


# Cached contents


def test_owner_with_most_bytes_loses_its_oldest_content() -> None:
    shelf = Shelf[str](100)
    assert shelf.put(("h", ""), HONEST, "honest", 30) == []
    gone = [content for number in range(200) for content in shelf.put((str(number), ""), EVIL, f"{number}", 10)]
    assert shelf.get(("h", "")) == "honest"
    assert gone == [str(number) for number in range(193)]
    assert shelf.forget("199") == ["199"]
    assert shelf.get(("199", "")) is None


def test_newest_content_stays_even_if_it_is_too_large() -> None:
    shelf = Shelf[str](100)
    shelf.put(("h", ""), HONEST, "honest", 60)
    assert shelf.put(("big", ""), EVIL, "big", 1_000) == ["honest"]
    assert shelf.get(("big", "")) == "big"
    assert shelf.put(("big", ""), EVIL, "again", 10) == ["big"]


@pytest.mark.parametrize("size", [1_000, download_cache.SMALL + 1])
def test_downloads_of_a_peer_push_out_none_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(download_cache, "_MAX_MEMORY", 8_000)
    monkeypatch.setattr(download_cache, "_MAX_DISK", 8 * size)
    loaded: list[str] = []

    def download(wanted: DriveFile, target: BinaryIO) -> None:
        loaded.append(wanted.owner)
        target.write(random.Random(wanted.id).randbytes(wanted.size))

    cache = DownloadCache(tmp_path, download)
    for number in range(30):
        for wanted in (file(HONEST, 0, size), file(EVIL, number, size)):
            with cache.open(wanted) as content:
                assert len(content.read()) == size
    assert (loaded.count(HONEST), loaded.count(EVIL)) == (1, 30)
    assert len(list(tmp_path.iterdir())) <= 8


def test_downloads_in_advance_include_each_owner(tmp_path: Path) -> None:
    catalogue, loaded, done = Catalogue(ME), set[str](), threading.Event()

    def download(wanted: DriveFile, target: BinaryIO) -> None:
        target.write(b"x")
        loaded.add(wanted.owner)
        if HONEST in loaded:
            done.set()

    cache = DownloadCache(tmp_path, download)
    notifier = Notifier(ME, catalogue, VisibleFiles(ME, catalogue, cache), cache, 4)
    replies = [message(EVIL, number) for number in range(500)] + [message(HONEST, 0)]
    for number, reply in enumerate(replies):
        catalogue.add(reply, number, ours=False)
    with notifier.watch([f"{EVIL}/", f"{HONEST}/"]):
        notifier.tell([reply.name for reply in replies])
        assert done.wait(10)
    notifier.close()


def message(owner: str, number: int) -> DriveFile:
    name = f"{owner}/app_data/flwr/app/rpc/messages/{ME}/{number:032x}.response"
    return replace(file(owner, number), name=name)


# The polls


class Drive:
    """A stream of an honest owner, and many of another one. All but the last announced file of those are missing."""

    def __init__(self, streams: int) -> None:
        self.asked: list[str] = []
        self.owners: dict[str, str] = {}
        self.files: dict[str, DriveFile] = {}
        self._folders = [self._folder(EVIL, number, 61) for number in range(streams)]
        for folder in self._folders:
            self.add(folder, 60)
        self.honest = self._folder(HONEST, 0, 1)
        self._folders.append(self.honest)

    def _folder(self, owner: str, number: int, announced: int) -> DriveFile:
        folder = f"{owner.partition('@')[0]}-folder{number:04}"
        ids = tuple(f"{folder}-{position:06}" for position in range(announced))
        said = Announcement(audience_digest({ME}), 0, 0, ids)
        properties = {key: value for key, value in said.encode().items() if value is not None}
        self.owners |= dict.fromkeys((folder, *ids), owner)
        return DriveFile(folder, "f", owner, 0, "", True, properties, (), "2030", 1)

    def add(self, folder: DriveFile, position: int) -> str:
        """Add a file to a stream; return its name."""
        name = f"{folder.owner}/app_data/flwr/app/objects/ab/{folder.id}.blob"
        file_id, said = f"{folder.id}-{position:06}", {MARK: FILE, "n": str(position), "low": "0"}
        added = DriveFile(file_id, name, folder.owner, 1, "0" * 32, False, said, (folder.id,), "2030", 1)
        self.files[file_id] = added
        return name

    def search(self, query: str, *, max_files: int) -> Iterator[DriveFile]:
        hits = self._folders if "in owners" in query else list(self.files.values())
        yield from hits[:max_files]

    def get_many(self, ids: Sequence[str]) -> dict[str, DriveFile | None]:
        self.asked += ids
        known = self.files | {folder.id: folder for folder in self._folders}
        return {file_id: known.get(file_id) for file_id in ids}


def mirror(drive: Drive, catalogue: Catalogue, told: list[Collection[str]]) -> tuple[Mirror, PollTargets]:
    clock = FakeClock()
    targets = PollTargets(clock, 1e6)
    polls = Mirror(
        drive,  # type: ignore[arg-type]
        ME,
        [EVIL, HONEST],
        catalogue,
        list,
        lambda _: False,
        targets,
        list,
        told.append,
        clock,
        look=60.0,
        search=3.0,
    )
    polls.load()
    return polls, targets


def test_peer_with_many_missing_files_takes_a_share_of_a_poll() -> None:
    """Each of 16 streams has 60 skipped positions, so that each poll could ask for a thousand ids of one owner."""
    drive = Drive(16)
    told: list[Collection[str]] = []
    polls, targets = mirror(drive, Catalogue(ME), told)
    expected = drive.add(drive.honest, 0)
    streams: set[str] = set()
    for number in range(16):
        for owner in (EVIL, HONEST):
            targets.miss(f"{owner}/app_data/none.json", went=False)
        drive.asked.clear()
        polls.poll()
        if number == 0:
            assert expected in told[-1]
        by_owner = [drive.owners[file_id] for file_id in drive.asked]
        assert 0 < by_owner.count(EVIL) <= 256
        streams |= {file_id[: len("evil-folder0000")] for file_id in drive.asked if drive.owners[file_id] == EVIL}
    assert len(streams) == 16
