"""Own objects are written again, byte for byte, if another program deletes them before they are withdrawn."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_folder import refuse_to_delete

from syft_flwr._messaging import put_back
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.layout import lay_out
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.own_files import request_objects
from syft_flwr.errors import IntegrityError, NotFoundError, TooLargeError
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, PEER = "ds@x.org", "do@y.org"
NAMES = AppNames("app")
RUN = 7


class World:
    """The own objects of one participant over a SyftBox folder."""

    def __init__(self, folder: Path, *, pushed: bool) -> None:
        self.pushed = pushed
        self.clock = FakeClock()
        self.transport = SyftBoxTransport(folder, ME)
        self.datasites = folder / "datasites"
        self.root = self.transport.properties.links or Path()
        self.objects = self.reopen()

    def reopen(self) -> ObjectFolder:
        """Return the objects as another process sees them."""
        links = Links(self.transport, NAMES, ME, self.root, self.clock)
        return links.objects_of(ME, encryption=True)

    def write(self, size: int = 45_000, *, shared: bool = True) -> list[str]:
        stored = self.objects.write([os.urandom(size)], run=RUN, readers=[PEER], shared=shared)
        return [ref.id for ref in stored.objects]

    def files(self) -> dict[str, bytes]:
        """Return the objects in the shared folder by name."""
        found = [
            path
            for path in self.datasites.rglob("*")
            if path.is_file() and path.name not in {"syft.pub.yaml", ".syftkeep"}
        ]
        return {path.relative_to(self.datasites).as_posix(): path.read_bytes() for path in found}

    def name(self, object_id: str) -> str:
        return NAMES.object(ME, object_id, pushed=self.pushed)

    def leaf(self, object_id: str) -> str:
        return self.name(object_id).rpartition("/")[2]

    def path(self, object_id: str) -> Path:
        return self.datasites / self.name(object_id)

    def second(self) -> set[str]:
        return {path.name for path in (self.root / "app" / "own").glob("*")}

    def put_back(self, ids: list[str], objects: ObjectFolder | None = None) -> None:
        (objects or self.objects).put_back(ids, [PEER])


@pytest.fixture
def world(tmp_path: Path, pushed: bool) -> Iterator[World]:
    world = World(tmp_path / "SyftBox", pushed=pushed)
    yield world
    world.transport.close()


def move(world: World, object_id: str, name: str) -> None:
    """Give the file of an object another name in the shared folder."""
    target = world.datasites / name
    target.parent.mkdir(exist_ok=True)
    world.path(object_id).rename(target)


def test_deleted_objects_are_put_back_byte_for_byte(world: World) -> None:
    ids = world.write()
    before = world.files()
    assert set(before) == {world.name(object_id) for object_id in ids}
    for object_id in ids:
        world.path(object_id).unlink()

    world.put_back(ids)

    assert world.files() == before
    assert len(before) == 5


def test_another_process_puts_objects_back(world: World) -> None:
    ids = world.write()
    before = world.files()
    world.path(ids[0]).unlink()

    world.put_back(ids, world.reopen())

    assert world.files() == before


@pytest.mark.parametrize("renamed", [False, True])
def test_object_gets_the_name_of_its_second_name_again(world: World, renamed: bool) -> None:
    """The name does not follow from the limits of now: a link can become slow after an object was written."""
    (object_id,) = world.write(5_000)
    name = NAMES.object(ME, object_id, pushed=renamed)
    data = world.path(object_id).read_bytes()
    world.objects.delete([object_id])
    world.transport.put(name, data, readers=[PEER])
    assert world.objects.own is not None
    world.objects.own.add(name)
    world.transport.delete(name)

    world.put_back([object_id], world.reopen())

    assert world.files() == {name: data}


@pytest.mark.parametrize(("attempt", "renamed"), [(0, True), (0, False), (1, True), (3, False), (7, True), (7, False)])
def test_object_under_another_name_is_not_put_back(world: World, attempt: int, renamed: bool) -> None:
    (object_id,) = world.write(5_000)
    other = NAMES.object(ME, object_id, attempt=attempt, pushed=renamed)
    move(world, object_id, other)

    world.put_back([object_id])

    assert set(world.files()) == {other}


def test_deletion_removes_every_known_name(world: World) -> None:
    (object_id,) = world.write(5_000)
    name = NAMES.object(ME, object_id, attempt=1, pushed=True)
    world.transport.put(name, b"the same", readers=[PEER])
    assert world.objects.own is not None
    world.objects.own.add(name)

    world.objects.delete([object_id])

    assert (world.files(), world.second()) == ({}, set())


@pytest.mark.parametrize(("attempt", "renamed"), [(0, True), (0, False), (1, True), (3, False), (7, True), (7, False)])
def test_another_process_deletes_under_any_name(world: World, attempt: int, renamed: bool) -> None:
    (object_id,) = world.write(5_000)
    move(world, object_id, NAMES.object(ME, object_id, attempt=attempt, pushed=renamed))

    world.reopen().delete([object_id])

    assert world.files() == {}


def test_another_process_deletes_later_attempts(world: World) -> None:
    (object_id,) = world.write(5_000)
    again = world.objects.put_again(object_id, readers=[PEER])
    assert set(world.files()) == {world.name(object_id), again}

    world.reopen().delete([object_id])

    assert (world.files(), world.second()) == ({}, set())


def test_second_name_of_a_vanished_attempt_is_removed(world: World) -> None:
    (object_id,) = world.write(5_000)
    name = NAMES.object(ME, object_id, attempt=1, pushed=world.pushed)
    move(world, object_id, name)
    (world.root / "app" / "own" / world.leaf(object_id)).unlink()
    world.put_back([object_id])
    assert world.second() == {name.rpartition("/")[2]}
    (world.datasites / name).unlink()

    world.reopen().delete([object_id])

    assert (world.files(), world.second()) == ({}, set())


def test_deleted_objects_are_not_put_back(world: World) -> None:
    ids = world.write()
    world.objects.delete(ids)

    world.put_back([])

    assert (world.files(), world.second()) == ({}, set())


def test_deleted_object_that_returns_is_deleted_again(world: World) -> None:
    (object_id,) = world.write(5_000)
    data = world.path(object_id).read_bytes()
    world.objects.delete([object_id])
    for _ in range(2):
        world.path(object_id).parent.mkdir(parents=True, exist_ok=True)
        world.path(object_id).write_bytes(data)

        world.put_back([])

        assert world.files() == {}


@pytest.mark.parametrize("attempt", [0, 2])
def test_orphan_that_returns_is_deleted_again(world: World, attempt: int) -> None:
    (object_id,) = world.write(5_000)
    data = world.path(object_id).read_bytes()
    name = NAMES.object(ME, object_id, attempt=attempt, pushed=world.pushed)
    move(world, object_id, name)
    objects = world.reopen()
    objects.delete_orphans(entry for _, entry in request_objects(world.transport, NAMES, ME))
    assert world.files() == {}
    world.path(object_id).parent.mkdir(parents=True, exist_ok=True)
    world.path(object_id).write_bytes(data)

    world.put_back([], objects)

    assert world.files() == {}


def test_object_that_cannot_be_deleted_again_is_logged_once(
    world: World, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    (object_id,) = world.write(5_000)
    data = world.path(object_id).read_bytes()
    world.objects.delete([object_id])
    world.path(object_id).parent.mkdir(parents=True, exist_ok=True)
    world.path(object_id).write_bytes(data)
    refuse_to_delete(monkeypatch)
    for _ in range(3):
        world.put_back([])
    assert len([line for line in logged if "came back after its deletion" in line]) == 1
    assert not [line for line in logged if "could not be deleted" in line]


def test_object_of_another_process_is_left_alone(world: World) -> None:
    (object_id,) = world.write(5_000)

    world.put_back([], world.reopen())

    assert set(world.files()) == {world.name(object_id)}


def test_lost_second_name_is_made_again(world: World) -> None:
    (object_id,) = world.write(5_000)
    (world.root / "app" / "own" / world.leaf(object_id)).unlink()

    world.put_back([object_id])

    assert world.second() == {world.leaf(object_id)}


def test_object_is_put_back_at_most_twenty_times(world: World, logged: list[str]) -> None:
    (object_id,) = world.write(5_000)
    times = 0
    for _ in range(put_back.MOST_TIMES + 5):
        world.path(object_id).unlink(missing_ok=True)
        world.put_back([object_id])
        times += world.path(object_id).exists()
        world.clock.advance(60)

    assert times == put_back.MOST_TIMES
    assert len([line for line in logged if "is not written again" in line]) == 1


def test_object_that_is_gone_twice_is_reported_once(world: World, logged: list[str]) -> None:
    (object_id,) = world.write(5_000)
    world.path(object_id).unlink()
    (world.root / "app" / "own" / world.leaf(object_id)).unlink()

    for _ in range(3):
        world.put_back([object_id])

    assert len([line for line in logged if "also under its second name" in line]) == 1


def test_restored_file_and_second_name_share_their_bytes(world: World) -> None:
    (object_id,) = world.write(5_000)
    world.path(object_id).unlink()

    world.put_back([object_id])

    assert world.path(object_id).stat().st_nlink == 2


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", [5_016, 5_015, 5_017, 0], ids=["changed", "cut", "extended", "emptied"])
def test_restored_bytes_that_a_peer_rewrote_are_refused(world: World, size: int, shared: bool) -> None:
    # Where all participants share one folder, a peer can write into the inode of the file and its second name.
    stored = world.objects.write([os.urandom(5_000)], run=RUN, readers=[PEER], shared=shared)
    (ref,) = stored.objects
    path = world.path(ref.id)
    os.truncate(path, 0)
    path.write_bytes(bytes(size))
    path.unlink()

    world.put_back([ref.id])
    body = lay_out([bytes(5_000)], [False], stored.objects, stored.pieces)

    with pytest.raises((IntegrityError, NotFoundError, TooLargeError)):
        read(world.objects, body, shared=shared)


def test_restoring_continues_at_the_next_scan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syft_flwr._messaging.own_links._AT_ONCE", 15_000)
    ids = world.write()
    before = world.files()
    for object_id in ids:
        world.path(object_id).unlink()

    world.put_back(ids)
    assert len(world.files()) == 2
    world.put_back(ids)
    world.put_back(ids)

    assert world.files() == before


def test_object_deleted_before_its_second_name_is_written_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, left = world.transport.keep, [2]

    def vanish(name: str, path: Path, *, max_size: int) -> None:
        if left[0]:
            left[0] -= 1
            world.transport.delete(name)
            raise NotFoundError(f"{name} is not there")
        keep(name, path, max_size=max_size)

    monkeypatch.setattr(world.transport, "keep", vanish)
    stored = world.objects.write([b"x" * 5_000], run=RUN, readers=[PEER], shared=True)

    assert world.second() == {world.leaf(stored.objects[0].id)}
    assert world.objects.missing(stored.objects) == []


def test_failed_write_leaves_no_second_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(name: str, path: Path, *, max_size: int) -> None:
        raise NotFoundError(f"{name} is not there")

    monkeypatch.setattr(world.transport, "keep", vanish)
    with pytest.raises(NotFoundError):
        world.write()

    assert (world.files(), world.second()) == ({}, set())


def test_drop_removes_unneeded_names_of_its_own_kind(world: World) -> None:
    (kept,), (orphan,), (reply,) = world.write(5_000), world.write(5_000), world.write(5_000, shared=False)
    links = Links(world.transport, NAMES, ME, world.root, world.clock)

    links.drop_own(answers=False, kept=[kept])

    assert world.second() == {world.leaf(kept), world.leaf(reply)}
    assert world.leaf(orphan) not in world.second()


def test_memory_transport_needs_no_second_names() -> None:
    from syft_flwr.transport.memory import MemoryNetwork

    transport = MemoryNetwork().transport(ME)
    objects = Links(transport, NAMES, ME, transport.properties.links, FakeClock()).objects_of(ME, encryption=True)

    assert (objects.own, objects.arrived) == (None, None)
