"""Arrived objects keep a second name: a deletion costs nothing, within bounds, until their message is closed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syft_flwr._messaging import peer_links
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder, lay_out
from syft_flwr._messaging.wire.body import Body, ObjectRef
from syft_flwr.errors import IntegrityError, NotFoundError, SyftFlwrError
from syft_flwr.names import AppNames, new_object_id
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, PEER = "ds@x.org", "do@y.org"
NAMES = AppNames("app")
RUN = 7


class World:
    """The objects of a peer, as a reader with second names sees them. Reader and peer share one SyftBox folder."""

    def __init__(self, folder: Path, *, pushed: bool, synced: bool = False) -> None:
        self.pushed = pushed
        self.clock = FakeClock()
        self.transport = SyftBoxTransport(folder, ME, synced=synced)
        self.peer = ObjectFolder(SyftBoxTransport(folder, PEER), NAMES, PEER, encryption=True)
        self.datasites = folder / "datasites"
        self.root = self.transport.properties.links or Path()
        self.links = self.reopen()
        self.links.follow(PEER, answers=True, run=RUN)

    def reopen(self) -> Links:
        return Links(self.transport, NAMES, ME, self.root, self.clock)

    @property
    def objects(self) -> ObjectFolder:
        return self.links.objects_of(PEER, encryption=True)

    def write(self, size: int = 45_000, *, shared: bool = False, run: int = RUN) -> Body:
        buffer = os.urandom(size)
        stored = self.peer.write([buffer], run=run, readers=[ME], shared=shared)
        self.sent = [buffer]
        return lay_out([buffer], [False], stored.objects, stored.pieces)

    def arrive(self, body: Body) -> None:
        """Report the objects of a body, as the event of their arrival does."""
        self.links.note(self.names(body))

    def names(self, body: Body) -> list[str]:
        return [NAMES.object(PEER, object_id, pushed=self.pushed) for object_id in body.manifest.object_ids]

    def path(self, ref: ObjectRef) -> Path:
        return self.datasites / NAMES.object(PEER, ref.id, pushed=self.pushed)

    def delete(self, body: Body) -> None:
        for ref in body.manifest.objects:
            self.path(ref).unlink()

    def second(self) -> set[str]:
        return {path.name for path in (self.root / "app" / PEER).glob("*")}

    def close(self) -> None:
        self.transport.close()
        self.peer.transport.close()


@pytest.fixture
def world(tmp_path: Path, pushed: bool) -> Iterator[World]:
    world = World(tmp_path / "SyftBox", pushed=pushed)
    yield world
    world.close()


# Reading


def test_object_deleted_after_its_event_is_read(world: World) -> None:
    body = world.write()
    world.arrive(body)
    world.delete(body)

    assert world.objects.missing(body.manifest.objects) == []
    assert read(world.objects, body, shared=False) == world.sent


def test_same_object_id_of_another_peer_replaces_no_second_name(world: World, tmp_path: Path) -> None:
    """A peer chooses the ids of its objects, and the heartbeat of the reader shows those of missing ones."""
    eve = "eve@z.org"
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    world.arrive(body)
    forged = world.datasites / NAMES.object(eve, ref.id, pushed=world.pushed)
    forged.parent.mkdir(parents=True)
    forged.write_bytes(os.urandom(world.objects.file_size(ref)))
    world.links.follow(eve, answers=True, run=RUN)
    world.links.note([NAMES.object(eve, ref.id, pushed=world.pushed)])
    world.links.need(eve, "e" * 32, [ref.id])
    world.delete(body)

    assert {path.name for path in (world.root / "app" / eve).glob("*")} == world.second() == {ref.id}
    assert read(world.objects, body, shared=False) == world.sent
    world.links.release(eve, "e" * 32)
    world.links.end_run(eve, RUN)
    assert read(world.objects, body, shared=False) == world.sent


def test_object_without_event_is_linked_by_the_scan(world: World) -> None:
    body = world.write()
    world.links.look([PEER])
    world.delete(body)

    assert read(world.objects, body, shared=False) == world.sent


def test_worker_reads_second_names(world: World) -> None:
    body = world.write()
    world.arrive(body)
    world.delete(body)

    assert read(world.reopen().objects_of(PEER, encryption=True), body, shared=False) == world.sent


@pytest.mark.parametrize(("attempt", "renamed"), [(0, True), (0, False), (1, True), (1, False), (7, True), (7, False)])
@pytest.mark.parametrize("found_by", ["an event", "a scan", "a search"])
def test_object_is_read_under_any_name(world: World, found_by: str, attempt: int, renamed: bool) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    name = NAMES.object(PEER, ref.id, attempt=attempt, pushed=renamed)
    (world.datasites / name).parent.mkdir(exist_ok=True)
    world.path(ref).rename(world.datasites / name)
    links = world.reopen() if found_by == "a search" else world.links
    links.note([name] if found_by == "an event" else [])
    links.look([PEER] if found_by == "a scan" else [])

    assert read(links.objects_of(PEER, encryption=True), body, shared=False) == world.sent


def test_kept_reply_is_linked_from_the_second_name(world: World, tmp_path: Path) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    sealed = world.path(ref).read_bytes()
    world.arrive(body)
    world.delete(body)

    world.objects.keep(ref, tmp_path / "kept")

    assert (tmp_path / "kept").read_bytes() == sealed


def test_missing_object_is_missing(world: World) -> None:
    body = world.write(5_000)
    world.delete(body)
    world.arrive(body)
    world.links.look([PEER])

    assert world.objects.missing(body.manifest.objects) == body.manifest.objects
    with pytest.raises(NotFoundError):
        world.objects.open(body.manifest.objects[0])


# Wrong bytes


def spoil(world: World, ref: ObjectRef, data: bytes) -> None:
    """Write into the inode that the file and its second name share, as a peer can in one folder for all."""
    with world.path(ref).open("r+b") as file:
        file.truncate()
        file.write(data)


@pytest.mark.parametrize("size", [5_016, 5_015, 5_017], ids=["changed", "cut", "extended"])
def test_wrong_second_name_is_dropped_for_the_file(world: World, size: int) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    world.arrive(body)
    good = world.path(ref).read_bytes()
    spoil(world, ref, bytes(size))
    world.path(ref).unlink()
    world.path(ref).write_bytes(good)

    assert world.objects.missing(body.manifest.objects) == []
    assert read(world.objects, body, shared=False) == world.sent
    assert world.second() == set()


@pytest.mark.parametrize("size", [5_016, 5_015, 5_017], ids=["changed", "cut", "extended"])
def test_wrong_bytes_under_both_names_are_an_error(world: World, size: int) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    world.arrive(body)
    spoil(world, ref, bytes(size))

    with pytest.raises(IntegrityError):
        read(world.objects, body, shared=False)


def as_link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def as_pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def as_sparse_file(path: Path, secret: Path) -> None:
    path.touch()
    os.truncate(path, 64 << 30)


def as_folder(path: Path, secret: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("replace", [as_link, as_pipe, as_sparse_file, as_folder])
@pytest.mark.parametrize("arrived", [True, False], ids=["after its arrival", "before its arrival"])
def test_object_replaced_by_another_kind_of_file_is_not_read(
    world: World, tmp_path: Path, replace: Callable[[Path, Path], None], arrived: bool
) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    secret = tmp_path / "secret"
    secret.write_bytes(world.path(ref).read_bytes())
    if arrived:
        world.arrive(body)
    world.path(ref).unlink()
    replace(world.path(ref), secret)
    world.arrive(body)

    if arrived:
        assert read(world.objects, body, shared=False) == world.sent
    else:
        assert world.second() == set()
        with pytest.raises(SyftFlwrError):
            read(world.objects, body, shared=False)
    assert world.path(ref).is_symlink() == (replace is as_link)


def test_wrong_second_name_without_file_waits_for_it(world: World) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    world.arrive(body)
    good = world.path(ref).read_bytes()
    spoil(world, ref, bytes(5_016))
    world.path(ref).unlink()
    with pytest.raises(NotFoundError):
        read(world.objects, body, shared=False)

    world.path(ref).write_bytes(good)
    world.arrive(body)

    assert read(world.objects, body, shared=False) == world.sent


# Bounds


def test_number_of_second_names_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(peer_links, "MAX_OBJECTS", 3)
    body = world.write()
    world.arrive(body)
    world.links.look([PEER])

    assert len(world.second()) == 3
    assert read(world.objects, body, shared=False) == world.sent
    assert len([line for line in logged if "get no second name here" in line]) == 1


def test_scan_of_objects_without_room_asks_for_no_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "MAX_OBJECTS", 1)
    world.write()
    asked: list[str] = []
    monkeypatch.setattr(world.transport, "stat", asked.append)
    world.links.look([PEER])

    assert len(world.second()) == 1
    assert asked == []


def test_bytes_of_second_names_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "MAX_MESSAGE", 25_000)
    body = world.write()
    world.arrive(body)

    assert len(world.second()) == 2
    assert read(world.objects, body, shared=False) == world.sent


def test_full_disk_gets_no_second_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [64 << 20]
    monkeypatch.setattr(world.transport, "free_space", lambda: free[0])
    body = world.write(5_000)
    world.arrive(body)

    assert world.second() == set()
    assert read(world.objects, body, shared=False) == world.sent

    free[0] += 5_016
    world.links.look([PEER])

    assert world.second() == set(body.manifest.object_ids)


def test_reserve_of_the_transport_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SyftBox client syncs nothing below 5 GiB, so second names must not fill the disk up to less than that."""
    world = World(tmp_path / "SyftBox", pushed=True, synced=True)
    free = [(5 << 30) + 5_015]
    monkeypatch.setattr(world.transport, "free_space", lambda: free[0])
    body = world.write(5_000)
    world.arrive(body)
    assert world.second() == set()

    free[0] += 1
    world.links.look([PEER])

    assert world.second() == set(body.manifest.object_ids)
    world.close()


def test_removed_second_names_make_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "MAX_MESSAGE", 60_000)
    for number in range(5):
        body = world.write()
        world.links.need(PEER, str(number), body.manifest.object_ids)
        world.arrive(body)
        assert len(world.second()) == 5
        world.links.release(PEER, str(number))
        world.delete(body)


def test_file_above_the_largest_object_is_not_linked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "_LARGEST", 5_000)
    body = world.write(6_000)
    world.arrive(body)

    assert world.second() == set()
    assert read(world.objects, body, shared=False) == world.sent


def test_other_names_are_not_linked(world: World) -> None:
    # Its last digits are the shard of its files.
    object_id = f"{new_object_id(RUN, answer=True)[:-2]}cd"
    folder = f"{PEER}/app_data/flwr/app/objects"
    names = [f"{folder}/ab/{object_id}.blob", f"{folder}/{object_id}.blob", f"{folder}/{object_id[-2:]}/x.blob"]
    names += [f"{folder}/{object_id[-2:]}/{object_id}.8.blob", f"{ME}/app_data/flwr/app/objects/ab/x.blob"]
    names += [f"{folder}/ab/{object_id}.request", f"{folder}/{object_id}.request", f"{folder}/00/x.request"]
    names += [f"{folder}/00/{object_id}.blob", f"{folder}/00/{object_id}.8.request"]
    for name in names:
        path = world.datasites / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"hostile")
    world.links.note(names)
    world.links.look([PEER])

    assert world.second() == set()


def test_objects_of_requests_are_left_to_the_other_role(world: World) -> None:
    body = world.write(shared=True)
    world.arrive(body)
    world.links.look([PEER])

    assert world.second() == set()


# The end of a second name


def test_release_keeps_what_another_message_needs(world: World) -> None:
    first, second = world.write(5_000), world.write(5_000)
    shared = [*first.manifest.object_ids, *second.manifest.object_ids]
    world.arrive(first)
    world.arrive(second)
    world.links.need(PEER, "one", shared)
    world.links.need(PEER, "two", second.manifest.object_ids)

    world.links.release(PEER, "one")

    assert world.second() == set(second.manifest.object_ids)


def test_released_object_is_linked_when_needed_again(world: World) -> None:
    body = world.write(5_000)
    world.arrive(body)
    world.links.need(PEER, "one", body.manifest.object_ids)
    world.links.release(PEER, "one")
    world.links.look([PEER])
    assert world.second() == set()

    world.links.need(PEER, "two", body.manifest.object_ids)

    assert world.second() == set(body.manifest.object_ids)


def test_unneeded_second_name_goes_ten_minutes_after_the_file(world: World) -> None:
    body = world.write(5_000)
    world.arrive(body)
    world.clock.advance(3_600)
    world.links.look([PEER])
    world.delete(body)
    world.links.look([])
    world.clock.advance(599)
    world.links.look([])
    assert len(world.second()) == 1

    world.clock.advance(1)
    world.links.look([])

    assert world.second() == set()


def test_file_that_comes_back_keeps_its_second_name(world: World) -> None:
    body = world.write(5_000)
    (ref,) = body.manifest.objects
    data = world.path(ref).read_bytes()
    world.arrive(body)
    world.delete(body)
    world.links.look([PEER])
    world.clock.advance(599)
    world.path(ref).write_bytes(data)
    world.links.look([PEER])
    world.path(ref).unlink()
    world.links.look([PEER])
    world.clock.advance(599)
    world.links.look([PEER])

    assert world.second() == {ref.id}


def test_needed_second_name_does_not_expire(world: World) -> None:
    body = world.write(5_000)
    world.arrive(body)
    world.links.need(PEER, "one", body.manifest.object_ids)
    world.delete(body)
    for _ in range(3):
        world.clock.advance(3_600)
        world.links.look([PEER])

    assert read(world.objects, body, shared=False) == world.sent


def test_second_names_of_an_interrupted_run_are_kept(world: World) -> None:
    body = world.write()
    world.arrive(body)
    world.delete(body)
    again = world.reopen()
    again.follow(PEER, answers=True, run=RUN)
    for _ in range(3):
        world.clock.advance(3_600)
        again.look([PEER])

    assert read(again.objects_of(PEER, encryption=True), body, shared=False) == world.sent
    again.clear()
    again.prune()
    assert not world.root.joinpath("app", PEER).exists()


def test_new_run_removes_second_names_of_others(world: World) -> None:
    world.arrive(world.write())
    old = world.second()
    assert len(old) == 5

    world.reopen().follow(PEER, answers=True, run=RUN + 1)

    assert world.second() == set()


def test_end_of_a_run_leaves_the_other_role_alone(world: World) -> None:
    """One email can be aggregator and data owner in the same app, in two processes."""
    client = world.reopen()
    client.follow(PEER, answers=False)
    request = world.write(5_000, shared=True)
    client.note(world.names(request))
    world.arrive(world.write(5_000))

    world.links.clear()

    assert world.second() == set(request.manifest.object_ids)


def test_transport_without_links_gets_no_second_names() -> None:
    from syft_flwr.transport.memory import MemoryNetwork

    transport = MemoryNetwork().transport(ME)
    links = Links(transport, NAMES, ME, transport.properties.links, FakeClock())
    links.follow(PEER, answers=True, run=RUN)
    links.note([NAMES.object(PEER, new_object_id(RUN, answer=True))])
    links.look([PEER])
    links.clear()
    links.prune()

    assert list(links.leftovers(answering=False, kept=(), runs=())) == []
