"""Looks at the objects of peers: many peers with very many files delay no look at another one."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from syft_flwr._messaging import peer_links
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Entry
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, HONEST = "ds@x.org", "honest@y.org"
NAMES = AppNames("app")
RUN = 7
#: The files that a look at a peer takes while it is not large, in these tests.
FEW = 5
#: Seconds for one file of a listing.
STEP = 0.001


class World:
    """A reader with the second names of the objects of some peers. Each file of a listing costs some time."""

    def __init__(self, folder: Path, large: int) -> None:
        self.clock = FakeClock()
        self.transport = SyftBoxTransport(folder, ME)
        self.datasites = folder / "datasites"
        self.root = self.transport.properties.links or Path()
        self.links = Links(self.transport, NAMES, ME, self.root, self.clock)
        self.large = [f"do{number}@y.org" for number in range(large)]
        #: Files that a listing of each large peer shows, beyond its real ones.
        self.flood = 2_000
        #: The listed files, by peer, and the number of listings.
        self.steps = Counter[str]()
        self.looks = Counter[str]()
        self.passes = 0
        self._list = self.transport.list
        self.transport.list = self.list_slowly  # type: ignore[method-assign]
        for peer in (*self.large, HONEST):
            self.links.follow(peer, answers=True, run=RUN)

    def list_slowly(self, prefix: str) -> Iterator[Entry]:
        peer = prefix.partition("/")[0]
        self.looks[peer] += 1
        extra = (Entry(f"{prefix}other/{number}", 1) for number in range(self.flood if peer in self.large else 0))
        for entry in (*extra, *self._list(prefix)):
            self.clock.advance(STEP)
            self.steps[peer] += 1
            yield entry

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.passes += 1
            self.links.look([*self.large, HONEST])
            self.clock.advance(1.0)

    def write(self, peer: str = HONEST, count: int = 1) -> set[str]:
        transport = SyftBoxTransport(self.datasites.parent, peer)
        folder, written = ObjectFolder(transport, NAMES, peer, encryption=True), set()
        for _ in range(count):
            stored = folder.write([os.urandom(100)], run=RUN, readers=[ME], shared=False)
            written |= {ref.id for ref in stored.objects}
        transport.close()
        return written

    def second(self, peer: str = HONEST) -> set[str]:
        return {path.name for path in (self.root / "app" / peer).glob("*")}

    def looks_until_found(self, peer: str, objects: set[str]) -> int:
        before = self.passes
        while not objects <= self.second(peer):
            assert self.passes - before < 2_000
            self.look()
        return self.passes - before


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "_MOST_AT_ONCE", FEW)


Make = Callable[[int], World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make_world(large: int) -> World:
            world = World(tmp_path / "SyftBox", large)
            stack.callback(world.transport.close)
            return world

        yield make_world


@pytest.mark.parametrize("large", [0, 1, 64])
def test_honest_file_is_found_by_the_next_look(make: Make, large: int) -> None:
    world = make(large)
    for _ in range(4):
        assert world.looks_until_found(HONEST, world.write()) == 1
        world.look(3)


@pytest.mark.parametrize("large", [1, 8, 64])
def test_large_peers_have_one_budget_for_all(make: Make, large: int) -> None:
    world = make(large)
    world.look()
    world.steps.clear()
    began = world.clock.monotonic()
    world.look(400)

    spent = sum(world.steps[peer] for peer in world.large) * STEP
    # A look at one of them, then ten times as long none.
    assert spent <= (world.clock.monotonic() - began) / 10
    assert world.looks[HONEST] == 401


def test_large_peers_take_turns(make: Make) -> None:
    world = make(8)
    world.look(400)

    counts = [world.looks[peer] for peer in world.large]
    assert max(counts) - min(counts) <= 1
    assert min(counts) >= 2


def test_honest_peer_with_many_files_is_found_in_its_turn(make: Make) -> None:
    world = make(8)
    many = world.write(count=3 * FEW)
    passes = world.looks_until_found(HONEST, many)

    # Nine peers take turns, each followed by a pause of ten times its look of two seconds.
    assert passes <= 9 * 23
    more = world.write()
    assert world.looks_until_found(HONEST, more) <= 9 * 23


def test_short_look_forgets_no_second_name(make: Make) -> None:
    world = make(0)
    first = world.write(count=FEW - 1)
    world.look()
    assert world.second() == first
    rest = world.write(count=2 * FEW)
    world.look(3)

    assert world.second() == first | rest


def test_first_looks_at_slow_peers_are_spread(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders without files cost time, too, and the first look at a peer does not know them."""
    world = make(8)
    list_quickly = world.transport.list

    def list_folders(prefix: str) -> Iterator[Entry]:
        world.clock.advance(0.0 if HONEST in prefix else 0.8)
        return list_quickly(prefix)

    world.flood = 0
    monkeypatch.setattr(world.transport, "list", list_folders)
    began = world.clock.monotonic()
    world.look()
    # Three first looks, and one of the large peers.
    assert world.clock.monotonic() - began <= 4 * 0.8 + 1.0
    assert world.looks_until_found(HONEST, world.write()) <= 2
    world.look(10)
    assert world.looks_until_found(HONEST, world.write()) == 1
    assert all(world.looks[peer] for peer in world.large)
