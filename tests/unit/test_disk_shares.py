"""The disk of a reader: whatever the other peers write and delete, each peer has its share of the space."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from syft_flwr._messaging.asking import kept_answers
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr.errors import StorageFullError
from syft_flwr.names import AppNames, is_object_id
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams import download_cache
from syft_flwr.transport._gdrive.streams.download_cache import SMALL, DownloadCache
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, EVIL, HONEST = "ds@x.org", "evil@x.org", "honest@x.org"
NAMES = AppNames("app")
RUN = 7
#: Bytes of the emulated disk and of an object.
DISK, OBJECT = 120_000, 1_000


class Disk:
    """A reader with second names of some peers, on a disk on which each file takes its bytes once."""

    def __init__(self, folder: Path, peers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.transport = SyftBoxTransport(folder, ME)
        self.reserve = self.transport.properties.reserve
        monkeypatch.setattr(self.transport, "free_space", lambda: self.free() + self.reserve)
        root = self.transport.properties.links or Path()
        self.root = root / "app"
        self.links = Links(self.transport, NAMES, ME, root, FakeClock())
        self.peers = {
            peer: ObjectFolder(SyftBoxTransport(folder, peer), NAMES, peer, encryption=True) for peer in peers
        }
        for peer in peers:
            self.links.follow(peer, answers=True, run=RUN)

    def free(self) -> int:
        found = (path for path in self.folder.rglob("*") if is_object_id(path.name.partition(".")[0]))
        # The files by their inodes: a second name takes no further space.
        return DISK - sum({status.st_ino: status.st_size for path in found if (status := path.stat())}.values())

    def second(self, peer: str) -> int:
        return sum(path.stat().st_size for path in (self.root / peer).glob("*"))

    def write(self, peer: str, *, deleted: bool) -> bool:
        """Let an object of a peer arrive; return whether it has a second name. Its writer deletes it then, or if not."""
        folder = self.peers[peer]
        stored = folder.write([os.urandom(OBJECT)], run=RUN, readers=[ME], shared=False)
        (ref,) = stored.objects
        self.links.note([NAMES.object(peer, ref.id, pushed=pushed) for pushed in (False, True)])
        has_name = (self.root / peer / ref.id).exists()
        # The files of the sync service itself are not limited.
        if deleted or not has_name:
            folder.delete([ref.id])
        return has_name

    def close(self) -> None:
        self.transport.close()
        for folder in self.peers.values():
            folder.transport.close()


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("evil", [1, 5])
def test_peers_that_fill_the_disk_leave_shares(
    evil: int, deleted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evils = [f"evil{number}@x.org" for number in range(evil)]
    disk = Disk(tmp_path / "SyftBox", [*evils, HONEST], monkeypatch)
    # Rounded down by some objects: one that arrives uses space before it has a second name.
    share = DISK // (2 * (evil + 1)) - 4 * OBJECT
    for peer in evils:
        while disk.write(peer, deleted=deleted):
            assert disk.free() >= share

    while disk.second(HONEST) < share:
        assert disk.write(HONEST, deleted=False), f"{disk.second(HONEST)} of {share} bytes"
    assert all(disk.second(peer) >= share for peer in evils)
    disk.close()


def test_one_peer_may_use_the_whole_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path / "SyftBox", [HONEST], monkeypatch)
    while disk.free() > 2 * OBJECT:
        assert disk.write(HONEST, deleted=True)
    disk.close()


def test_look_tests_the_room_once_for_alike_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test asks the system for its free space, and adds up the bytes of all peers."""
    disk = Disk(tmp_path / "SyftBox", [HONEST, EVIL], monkeypatch)
    while disk.write(EVIL, deleted=False):
        pass
    before, asked = disk.second(EVIL), list[int]()
    for _ in range(50):
        disk.peers[EVIL].write([os.urandom(OBJECT)], run=RUN, readers=[ME], shared=False)
    free = disk.free()
    monkeypatch.setattr(disk.transport, "free_space", lambda: asked.append(1) or free + disk.reserve)
    disk.links.look([EVIL])
    assert disk.second(EVIL) == before
    assert len(asked) <= 2

    # Each look tests again: other programs may have freed space.
    monkeypatch.setattr(disk.transport, "free_space", lambda: 100 * DISK + disk.reserve)
    disk.links.look([EVIL])
    assert disk.second(EVIL) >= before + 50 * OBJECT
    disk.close()


# Kept replies


def fill(replies: KeptAnswers, owner: str) -> int:
    seen = ObjectFolder(MemoryNetwork().transport(ME), NAMES, owner, True)
    return next(number for number in range(1_000) if not replies.keep(f"{number:032}", [], seen, 10))


def test_kept_replies_use_half_of_a_small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000))
    replies = KeptAnswers(tmp_path / "journal", 1 << 40, owners=5)
    replies.open_run(RUN)

    assert fill(replies, EVIL) == 60
    assert [fill(replies, f"do{number}@x.org") for number in range(4)] == [10] * 4


# Downloads from Drive


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DownloadCache:
    """Return a cache on a disk with room for five large files, beside the reserve."""

    def disk_usage(folder: Path) -> SimpleNamespace:
        size = sum(path.stat().st_size for path in folder.iterdir())
        return SimpleNamespace(free=download_cache._RESERVE + 5 * (SMALL + 1) - size)

    monkeypatch.setattr(download_cache.shutil, "disk_usage", disk_usage)

    def download(wanted: DriveFile, target: BinaryIO) -> None:
        target.truncate(wanted.size)

    return DownloadCache(tmp_path, download)


def large(owner: str, number: int, size: int = SMALL + 1) -> DriveFile:
    name = f"{owner}/app_data/flwr/app/objects/ab/{number}.blob"
    return DriveFile(f"{owner}{number}", name, owner, size, f"{number:032}", False, {}, (), "2030", 1)


def test_download_on_a_full_disk_drops_those_of_the_largest(cache: DownloadCache, tmp_path: Path) -> None:
    cache.open(large(HONEST, 0)).close()
    kept = set(tmp_path.iterdir())
    for number in range(20):
        cache.open(large(EVIL, number)).close()
    cache.open(large("third@x.org", 0)).close()

    assert kept < set(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 5


def test_download_larger_than_the_disk_drops_no_other(cache: DownloadCache, tmp_path: Path) -> None:
    for number in range(4):
        cache.open(large(HONEST, number)).close()
    before = set(tmp_path.iterdir())

    with pytest.raises(StorageFullError):
        cache.open(large(EVIL, 0, 6 * (SMALL + 1)))

    assert set(tmp_path.iterdir()) == before
    cache.open(large(EVIL, 1, 5 * (SMALL + 1))).close()
    assert len(list(tmp_path.iterdir())) == 1
