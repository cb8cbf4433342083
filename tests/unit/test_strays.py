"""``Strays`` deletes own files that came back after their deletion."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_folder import refuse_to_delete

from syft_flwr._messaging import strays as strays_module
from syft_flwr._messaging.strays import Strays
from syft_flwr.names import AppNames
from syft_flwr.transport.base import Entry
from syft_flwr.transport.syftbox import SyftBoxTransport

_ME, _PEER = "me@x.org", "peer@y.org"
_NAMES = AppNames("strays")


class _NotListing(SyftBoxTransport):
    """A transport that lists no folder: a peer decides how many files are in its inbox."""

    def list(self, prefix: str) -> Iterator[Entry]:
        raise AssertionError(f"{prefix} was listed")


class _World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "datasites"
        self.transport = _NotListing(folder, _ME)
        self.strays = Strays(self.transport)

    def put(self, numbers: range) -> None:
        for number in numbers:
            self.transport.put(_name(number), b"sealed", readers=[_PEER])

    def discard(self, numbers: range) -> None:
        for number in numbers:
            self.strays.discard(_name(number))

    def left(self, numbers: range) -> list[int]:
        return [number for number in numbers if (self.folder / _name(number)).exists()]


def _name(number: int) -> str:
    return _NAMES.request(_PEER, _ME, f"{number:032x}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[_World]:
    world = _World(tmp_path)
    yield world
    world.transport.close()


def test_only_deleted_files_are_deleted_again(world: _World) -> None:
    world.put(range(4))
    world.discard(range(2))
    world.put(range(2))
    world.strays.discard_again()
    assert world.left(range(4)) == [2, 3]


def test_number_of_remembered_names_is_limited(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays_module, "_MOST_NAMES", 10)
    world.strays = Strays(world.transport)
    world.discard(range(25))
    world.put(range(25))
    world.strays.discard_all_again()
    assert world.left(range(25)) == [*range(15)]


def test_scans_look_for_the_names_in_turn(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays_module, "_AT_ONCE", 4)
    world.discard(range(10))
    left = []
    for _ in range(2):
        world.put(range(10))
        for _ in range(3):
            world.strays.discard_again()
            left.append(len(world.left(range(10))))
    assert left == [6, 2, 0] * 2


def test_failed_deletion_is_logged_once(world: _World, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    world.discard(range(2))
    world.put(range(2))
    refuse_to_delete(monkeypatch)
    for _ in range(3):
        world.strays.discard_again()
    assert [line.partition(" ")[0] for line in logged if "came back after its deletion" in line] == ["WARNING"] * 2
    assert world.left(range(2)) == [0, 1]
    monkeypatch.undo()
    world.strays.discard_again()
    assert world.left(range(2)) == []


def test_file_that_comes_back_later_is_deleted_again(world: _World) -> None:
    world.discard(range(1))
    world.strays.discard_again()
    world.put(range(1))
    world.strays.discard_again()
    assert world.left(range(1)) == []
