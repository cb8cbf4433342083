"""Shows that a flood of files or folders in SyftBox costs the other participants a bounded number of steps.

The flood comes from strangers, or from a data owner of the same run. The folders are real. The tests count the watches of
the kernel, the files that the participants read, and the bytes of the process.
"""

import gc
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from deep_folders import nested
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation
from faultkit.storage import FolderStorage
from waiting import eventually

from syft_flwr.names import card
from syft_flwr.transport.inotify import Inotify

OWNER, FLOODER = OWNERS
FILES = 10_000
#: Bytes by which the process may grow: for the names of some thousands of files, and for memory that allocators keep.
GROWTH = 24 << 20


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the watched folders, by path."""
    counted: Counter[str] = Counter()
    add = Inotify.add

    def count(self: Inotify, path: str) -> int:
        counted[path] += 1
        return add(self, path)

    monkeypatch.setattr(Inotify, "add", count)
    return counted


def write_many(folder: Path, names: Iterator[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"flood")


def flood_of_requests(storage: FolderStorage, _: ExitStack) -> None:
    """A stranger, who may write into its own folder of each inbox, writes requests and other files there."""
    for owner in OWNERS:
        folder = storage.path(NAMES.messages_of(owner, OUTSIDER))
        write_many(folder, (f"{secrets.token_hex(16)}.request" for _ in range(FILES // 2)))
        write_many(folder, (f"{number}.txt" for number in range(FILES // 2)))


def flood_of_cards(storage: FolderStorage, _: ExitStack) -> None:
    """Strangers have datasites with key cards, which SyftBox gives to all users."""
    for number in range(FILES):
        storage.plant(card(f"s{number}@elsewhere.example"), b"{}")


def flood_of_objects(storage: FolderStorage, _: ExitStack) -> None:
    """A data owner has very many objects that no message names."""
    for number in range(FILES):
        shard = storage.path(NAMES.objects(FLOODER)) / f"{number % 256:02x}"
        write_many(shard, iter([f"{secrets.token_hex(15)}{number % 256:02x}.blob"]))


def flood_of_folders(storage: FolderStorage, stack: ExitStack) -> None:
    """A data owner and a stranger have very many folders, and very deep ones."""
    places = [NAMES.objects(FLOODER), NAMES.messages_of(OWNER, OUTSIDER)]
    for place in places:
        for number in range(FILES // 2):
            storage.path(f"{place}w{number}").mkdir(parents=True)
    stack.enter_context(nested([storage.path(place) for place in places], 1_100))


Flood = Callable[[FolderStorage, ExitStack], None]


@pytest.mark.parametrize("flood", [flood_of_requests, flood_of_cards, flood_of_objects, flood_of_folders])
def test_rounds_go_on_in_a_flood(
    tmp_path: Path, folder: FolderStorage, flood: Flood, watches: Counter[str], logged: list[str]
) -> None:
    with ExitStack() as stack, Federation(tmp_path / "homes", folder) as federation:
        flood(folder, stack)
        # Two warnings that must not be lost in the flood: of another sender, and of the aggregator.
        other = NAMES.request(OWNER, "other@elsewhere.example", "0" * 32)
        forged = NAMES.request(OWNER, AGGREGATOR, "1" * 32)
        folder.plant(other, b"no envelope")
        process = psutil.Process()
        gc.collect()
        size = process.memory_info().rss

        federation.start()
        # Not before: the aggregator deletes requests that an earlier process of it left.
        folder.plant(forged, b"no envelope")
        for number in (1, 2, 3):
            assert [answer["messages"] for answer in federation.assert_served()] == [number] * 2
        for owner in federation.owners.values():
            owner.spy.wait_for_scans(2)

        gc.collect()
        assert process.memory_info().rss - size < GROWTH
        # Three participants, with some folders of few kinds each; a kind has at most 1,024.
        assert len(watches) < 3 * 1_024 + 1_200
        assert not [path for path in watches if "s1@elsewhere" in path or path.endswith("d/d/" * 10)]
        reads = Counter(name for owner in federation.owners.values() for name in owner.spy.reads.elements())
        assert not [name for name in reads if f"/{OUTSIDER}/" in name or name.startswith("s1")]
        for name in (other, forged):
            eventually(lambda name=name: any(name in line for line in logged), f"the warning about {name}")
        assert not [line for line in logged if line.startswith("ERROR")]
