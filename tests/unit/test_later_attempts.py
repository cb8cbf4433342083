"""An own object is written again under the names of later attempts, and all its files are deleted together."""

from dataclasses import replace
from pathlib import Path

import pytest

from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.own_files import files_of_object, request_objects
from syft_flwr.errors import StorageFullError
from syft_flwr.names import MAX_ATTEMPTS, AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Properties
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("app")
_BUFFER = bytes(range(256)) * 200


class _Synced(MemoryTransport):
    """A transport on which files can vanish."""

    def __init__(self, network: MemoryNetwork, email: str, links: Path) -> None:
        super().__init__(network, email)
        self.space = 1 << 40
        self._links = links

    @property
    def properties(self) -> Properties:
        return replace(super().properties, links=self._links)

    def free_space(self) -> int:
        return self.space


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork(part_size=20_000)


@pytest.fixture
def folder(network: MemoryNetwork, tmp_path: Path) -> ObjectFolder:
    return _open(network, tmp_path)


def _open(network: MemoryNetwork, links: Path) -> ObjectFolder:
    """Return the folder of the aggregator's objects, as a new process sees it."""
    transport = _Synced(network, _DS, links)
    return Links(transport, _NAMES, _DS, links, FakeClock()).objects_of(_DS, encryption=True)


def _write(folder: ObjectFolder) -> list[str]:
    return [ref.id for ref in folder.write([_BUFFER], run=7, readers=[_DO], shared=True).objects]


def _again(folder: ObjectFolder, object_id: str) -> str:
    return folder.put_again(object_id, readers=[_DO])


def test_later_attempt_has_the_same_bytes_and_readers(network: MemoryNetwork, folder: ObjectFolder) -> None:
    object_id = _write(folder)[0]
    name = _again(folder, object_id)
    assert name == _NAMES.object(_DS, object_id, attempt=1)
    assert network.files[name] == network.files[_NAMES.object(_DS, object_id)]


def test_attempts_count_up_to_their_limit(folder: ObjectFolder) -> None:
    object_id = _write(folder)[0]
    names = [_again(folder, object_id) for _ in range(MAX_ATTEMPTS)]
    assert names == [*(_NAMES.object(_DS, object_id, attempt=n) for n in range(1, MAX_ATTEMPTS)), ""]


def test_later_attempt_is_copied_from_any_file(network: MemoryNetwork, folder: ObjectFolder) -> None:
    object_id = _write(folder)[0]
    content = network.files.pop(_NAMES.object(_DS, object_id))
    assert _again(folder, object_id) == ""
    network.files[_NAMES.object(_DS, object_id, pushed=True)] = content
    first = _again(folder, object_id)
    assert first == _NAMES.object(_DS, object_id, attempt=1)
    del network.files[_NAMES.object(_DS, object_id, pushed=True)]
    second = _again(folder, object_id)
    assert second == _NAMES.object(_DS, object_id, attempt=2)
    assert network.files[first] == network.files[second] == content


def test_full_disk_refuses_a_later_attempt(folder: ObjectFolder) -> None:
    object_id = _write(folder)[0]
    assert isinstance(folder.transport, _Synced)
    folder.transport.space = 1_000
    with pytest.raises(StorageFullError):
        _again(folder, object_id)


def test_attempts_are_deleted_with_their_object(network: MemoryNetwork, folder: ObjectFolder) -> None:
    first, second, *_ = _write(folder)
    for object_id in (first, first, second):
        _again(folder, object_id)
    folder.delete([first])
    assert not [name for name in network.files if first in name]
    assert len([name for name in network.files if second in name]) == 2


def test_next_process_deletes_attempts_with_their_object(network: MemoryNetwork, tmp_path: Path) -> None:
    before = _open(network, tmp_path)
    first, second, *_ = _write(before)
    for object_id in (first, second):
        _again(before, object_id)
    _open(network, tmp_path).delete([first])
    assert not [name for name in network.files if first in name]
    assert len([name for name in network.files if second in name]) == 2


def test_next_process_continues_the_count_of_attempts(network: MemoryNetwork, tmp_path: Path) -> None:
    before = _open(network, tmp_path)
    object_id = _write(before)[0]
    _again(before, object_id)
    after = _open(network, tmp_path)
    assert _again(after, object_id) == _NAMES.object(_DS, object_id, attempt=2)
    after.delete([object_id])
    assert not [name for name in network.files if object_id in name]


def test_orphaned_attempts_are_found_with_their_object(folder: ObjectFolder) -> None:
    kept, lost, *_ = ids = _write(folder)
    for object_id in (kept, lost):
        _again(folder, object_id)
    found = [entry.name for _, entry in request_objects(folder.transport, _NAMES, _DS, kept=[*ids[2:], kept])]
    assert sorted(found) == sorted(_NAMES.object(_DS, lost, attempt=attempt) for attempt in (0, 1))


def test_only_existing_objects_have_a_size(network: MemoryNetwork, folder: ObjectFolder) -> None:
    first, second, *_ = _write(folder)
    size = len(network.files[_NAMES.object(_DS, first)][0])
    del network.files[_NAMES.object(_DS, second)]
    assert folder.sizes_of([first, second, "f" * 32]) == {first: size}


def test_released_object_is_not_written_again(network: MemoryNetwork, folder: ObjectFolder) -> None:
    broadcast = Broadcast(folder)
    body, _ = broadcast.make_body([_BUFFER], run=7, readers=[_DO], holder="a" * 32)
    object_id = body.manifest.objects[0].id
    assert broadcast.put_again(object_id, readers=[_DO])
    broadcast.close()
    assert broadcast.put_again(object_id, readers=[_DO]) == ""
    assert network.files == {}


def test_adopted_object_is_written_again(network: MemoryNetwork, folder: ObjectFolder) -> None:
    ids = _write(folder)
    broadcast = Broadcast(folder)
    broadcast.adopt(ids, holder="a" * 32)
    assert broadcast.put_again(ids[0], readers=[_DO])
    broadcast.release("a" * 32)
    assert network.files == {}


@pytest.mark.parametrize("end", ["00", "ab"])
def test_each_file_of_an_object_is_found_once(network: MemoryNetwork, end: str) -> None:
    transport = MemoryTransport(network, _DS)
    object_id = "1" * 30 + end
    names = [_NAMES.object(_DS, object_id, attempt=attempt, pushed=not attempt) for attempt in range(3)]
    for name in names:
        transport.put(name, b"content", readers=[_DO])

    assert sorted(entry.name for entry in files_of_object(transport, _NAMES, _DS, object_id)) == sorted(names)
