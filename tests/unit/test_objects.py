"""Objects: buffers are split, sealed and read back, and a hostile manifest cannot allocate memory."""

import json
import os
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syft_flwr._crypto.segments import new_key, seal, sealed_size
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.layout import LayoutLimits, lay_out
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import Body, BufferRef, Manifest, ObjectRef, decode
from syft_flwr._messaging.wire.limits import INLINE_TOTAL, MAX_BUFFERS, MAX_MESSAGE, MAX_USES
from syft_flwr.errors import (
    IntegrityError,
    LocalProtocolError,
    MalformedError,
    NotFoundError,
    StorageFullError,
    SyftFlwrError,
)
from syft_flwr.names import AppNames
from syft_flwr.transport.base import Data
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO = "ds@x.org", "do@y.org"
NAMES = AppNames("app")
RUN = 7
PART = 1_000


class Storage:
    """The objects of one sender, seen by the sender and by a reader, with small parts."""

    def __init__(self, *, encryption: bool = True, part_size: int = PART) -> None:
        self.network = MemoryNetwork(part_size=part_size)
        self.sender = ObjectFolder(self.network.transport(DS), NAMES, DS, encryption)
        self.reader = ObjectFolder(self.network.transport(DO), NAMES, DS, encryption)

    def write(self, buffers: Sequence[bytes], *, shared: bool = True) -> Body:
        """Write all buffers as objects, also small ones."""
        stored = self.sender.write(buffers, run=RUN, readers=[DO], shared=shared)
        return lay_out(buffers, [False] * len(buffers), stored.objects, stored.pieces)

    def files(self) -> dict[str, bytes]:
        return {name: content for name, (content, _) in self.network.files.items()}

    def replace(self, ref: ObjectRef, content: bytes | None) -> None:
        """Replace the file of an object, or delete it if ``content`` is None, as the owner of the storage can."""
        name = NAMES.object(DS, ref.id)
        if content is None:
            del self.network.files[name]
        else:
            self.network.files[name] = (content, self.network.files[name][1])

    def content(self, ref: ObjectRef) -> bytes:
        return self.network.files[NAMES.object(DS, ref.id)][0]


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
def storage(request: pytest.FixtureRequest) -> Storage:
    return Storage(encryption=request.param)


BUFFERS = st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=12)


@settings(max_examples=80)
@given(buffers=BUFFERS, part_size=st.integers(1, 150), encryption=st.booleans(), shared=st.booleans())
def test_buffers_round_trip_with_any_part_size(
    buffers: list[bytes], part_size: int, encryption: bool, shared: bool
) -> None:
    storage = Storage(encryption=encryption, part_size=part_size)

    body = decode(storage.write(buffers, shared=shared).encode())

    assert read(storage.reader, body, shared=shared) == buffers
    assert len(body.manifest.objects) == -(-sum(map(len, buffers)) // part_size)
    assert all(ref.size <= part_size for ref in body.manifest.objects)


@pytest.mark.parametrize("sizes", [[PART], [PART - 1, 1], [PART + 1], [3 * PART], [1] * PART, [PART - 1, 2, PART - 1]])
def test_buffers_round_trip_at_part_edges(storage: Storage, sizes: list[int]) -> None:
    buffers = [os.urandom(size) for size in sizes]

    body = storage.write(buffers)

    assert read(storage.reader, body, shared=True) == buffers
    assert [ref.size for ref in body.manifest.objects[:-1]] == [PART] * (len(body.manifest.objects) - 1)


def test_mixed_buffer_sizes_keep_their_order(storage: Storage) -> None:
    buffers = [b"", b"small", os.urandom(INLINE_TOTAL), b"", os.urandom(2_500), b"last"]

    body = make_body(buffers, storage.sender, run=RUN, readers=[DO])
    again = decode(body.encode())

    assert read(storage.reader, again, shared=False) == buffers
    assert again.inline == b"small" + buffers[4] + b"last"


def test_small_message_writes_no_object(storage: Storage) -> None:
    body = make_body([b"one", b"", b"three"], storage.sender, run=RUN, readers=[DO])

    assert storage.files() == {}
    assert read(storage.reader, body, shared=True) == [b"one", b"", b"three"]


@pytest.mark.parametrize("encryption", [True, False])
def test_reply_up_to_one_push_is_all_inline_over_syftbox(tmp_path: Path, encryption: bool) -> None:
    with closing(SyftBoxTransport(tmp_path, DS)) as transport:
        folder = ObjectFolder(transport, NAMES, DS, encryption)
        buffers = [os.urandom(3_000_000), b"config"]

        body = make_body(buffers, folder, run=RUN, readers=[DO])

        assert read(folder, decode(body.encode()), shared=False) == buffers
        assert body.manifest.objects == []


def test_pushed_objects_are_found_and_deleted(tmp_path: Path) -> None:
    with closing(SyftBoxTransport(tmp_path, DS)) as transport:
        folder = ObjectFolder(transport, NAMES, DS, encryption=True)
        buffers = [os.urandom(7_000_000)]

        body = make_body(buffers, folder, run=RUN, readers=[DO])

        names = {NAMES.object(DS, object_id, pushed=True) for object_id in body.manifest.object_ids}
        found = list(transport.list(f"{DS}/"))
        assert {entry.name for entry in found} == names
        assert len(names) == 4
        assert max(entry.size for entry in found) - min(entry.size for entry in found) < 100
        assert read(folder, body, shared=False) == buffers
        folder.delete(body.manifest.object_ids)
        assert list(transport.list(f"{DS}/")) == []


def test_own_limits_replace_those_of_the_transport(tmp_path: Path) -> None:
    """Write with the limits of Drive into a local folder, as the worker of a data owner on Drive does."""
    limits = LayoutLimits(inline_size=INLINE_TOTAL, part_size=64 << 20, pushed_size=0, pushed_message=0)
    with closing(SyftBoxTransport(tmp_path, DS)) as near:
        folder = ObjectFolder(near, NAMES, DS, encryption=True, limits=limits)

        body = make_body([os.urandom(40_000)], folder, run=RUN, readers=[DO])

        assert [entry.name for entry in near.list(f"{DS}/")] == [NAMES.object(DS, body.manifest.object_ids[0])]


def test_tied_buffers_are_read_once(storage: Storage) -> None:
    buffer = os.urandom(2_500)
    body = storage.write([buffer, b"x" * 10])
    first, second = body.manifest.buffers
    tied = Body(Manifest(buffers=[first, second, first], objects=body.manifest.objects), b"")

    one, _, again = read(storage.reader, decode(tied.encode()), shared=True)

    assert one == buffer
    assert again is one


def test_equal_buffers_of_a_reply_are_copied_beyond_the_limit() -> None:
    storage = Storage(part_size=INLINE_TOTAL)
    zeros, other = bytes(INLINE_TOTAL), os.urandom(INLINE_TOTAL)
    for count in (MAX_USES, MAX_USES + 1, 6 * MAX_USES):
        buffers = [other, *[zeros] * count, bytes(zeros)]
        body = make_body(buffers, storage.sender, run=RUN, readers=[DO])
        assert len(body.manifest.objects) == 1 + -(-(count + 1) // MAX_USES)
        assert read(storage.reader, decode(body.encode()), shared=False) == buffers


def test_unused_object_bytes_are_still_verified(storage: Storage) -> None:
    body = storage.write([b"a" * 600, b"b" * 600, b"c" * 600])
    middle = Body(Manifest(buffers=[body.manifest.buffers[1]], objects=body.manifest.objects), b"")

    assert read(storage.reader, middle, shared=True) == [b"b" * 600]
    storage.replace(body.manifest.objects[0], bytes(len(storage.content(body.manifest.objects[0]))))
    with pytest.raises(IntegrityError):
        read(storage.reader, middle, shared=True)


# Stored files


def test_stored_objects_are_encrypted() -> None:
    storage = Storage()
    buffer = b"patient 4711 " * 200

    body = storage.write([buffer, buffer])

    for content in storage.files().values():
        assert b"patient" not in content
        assert sealed_size(PART) >= len(content)
    keys = {ref.key for ref in body.manifest.objects}
    assert len(keys) == len(body.manifest.objects) > 1
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)


def test_plain_objects_are_protected_by_a_hash() -> None:
    storage = Storage(encryption=False)

    body = storage.write([b"x" * 1_500], shared=False)

    assert [storage.content(ref) for ref in body.manifest.objects] == [b"x" * 1_000, b"x" * 500]
    assert all(ref.sha256 and not ref.key for ref in body.manifest.objects)


def test_only_shared_objects_have_a_hash() -> None:
    storage = Storage()

    assert all(ref.sha256 for ref in storage.write([b"x" * 1_500], shared=True).manifest.objects)
    assert not any(ref.sha256 for ref in storage.write([b"x" * 1_500], shared=False).manifest.objects)


def test_objects_are_readable_only_by_their_readers(storage: Storage) -> None:
    body = storage.write([b"x" * 100])

    (name,) = storage.files()
    assert name == NAMES.object(DS, body.manifest.objects[0].id)
    assert name.startswith(f"{DS}/app_data/flwr/app/objects/")
    assert body.manifest.objects[0].id.startswith(f"{RUN:016x}")
    stranger = ObjectFolder(storage.network.transport("other@z.org"), NAMES, DS, storage.sender.encryption)
    with pytest.raises(NotFoundError):
        read(stranger, body, shared=True)


def test_deleting_objects_can_be_repeated(storage: Storage) -> None:
    body = storage.write([b"x" * 2_500])

    storage.sender.delete(body.manifest.object_ids)
    storage.sender.delete(body.manifest.object_ids)

    assert storage.files() == {}


class FullAfter(MemoryTransport):
    """A transport that is full after a number of files."""

    def __init__(self, network: MemoryNetwork, room: int) -> None:
        super().__init__(network, DS)
        self.room = room

    def put(self, name: str, data: Data, *, readers: Any, replace: bool = False) -> None:
        if not self.room:
            raise StorageFullError(f"no room left to write {name}")
        self.room -= 1
        super().put(name, data, readers=readers, replace=replace)


@pytest.mark.parametrize("room", [0, 1, 3])
def test_failed_write_leaves_no_objects(room: int) -> None:
    network = MemoryNetwork(part_size=PART)
    folder = ObjectFolder(FullAfter(network, room), NAMES, DS, encryption=True)

    with pytest.raises(StorageFullError):
        folder.write([b"x" * 5 * PART], run=RUN, readers=[DO], shared=True)

    assert network.files == {}


def test_reserve_of_the_transport_stays_free() -> None:
    network = MemoryNetwork(part_size=PART)
    transport = network.transport(DS)
    network.properties = replace(network.properties, reserve=transport.free_space() - PART)
    folder = ObjectFolder(transport, NAMES, DS, encryption=True)

    with pytest.raises(StorageFullError, match="MB are needed to write this message"):
        folder.write([b"x" * 2 * PART], run=RUN, readers=[DO], shared=True)

    assert network.files == {}


def test_message_with_too_many_buffers_writes_nothing(storage: Storage) -> None:
    buffers = [bytes(INLINE_TOTAL)] + [b""] * MAX_BUFFERS

    with pytest.raises(LocalProtocolError):
        make_body(buffers, storage.sender, run=RUN, readers=[DO])

    assert storage.files() == {}


# Missing and changed objects


def test_missing_objects_are_listed_and_not_read(storage: Storage) -> None:
    body = storage.write([b"x" * 2_500])
    second = body.manifest.objects[1]
    assert storage.reader.missing(body.manifest.objects) == []

    storage.replace(second, None)

    assert storage.reader.missing(body.manifest.objects) == [second]
    with pytest.raises(NotFoundError, match=r"ds@x\.org"):
        read(storage.reader, body, shared=True)


def swap(storage: Storage, one: ObjectRef, other: ObjectRef) -> None:
    first, second = storage.content(one), storage.content(other)
    storage.replace(one, second)
    storage.replace(other, first)


def flip(position: int) -> Callable[[Storage, ObjectRef, ObjectRef], None]:
    def _flip(storage: Storage, one: ObjectRef, other: ObjectRef) -> None:
        content = bytearray(storage.content(one))
        content[position] ^= 1
        storage.replace(one, bytes(content))

    return _flip


FAULTS: dict[str, Callable[[Storage, ObjectRef, ObjectRef], None]] = {
    "cut by a byte": lambda storage, one, other: storage.replace(one, storage.content(one)[:-1]),
    "cut to one byte": lambda storage, one, other: storage.replace(one, b"x"),
    "longer by a byte": lambda storage, one, other: storage.replace(one, storage.content(one) + b"x"),
    "twice itself": lambda storage, one, other: storage.replace(one, storage.content(one) * 2),
    "zeros": lambda storage, one, other: storage.replace(one, bytes(len(storage.content(one)))),
    "the first byte changed": flip(0),
    "a byte in the middle changed": flip(500),
    "the last byte changed": flip(-1),
    "swapped with another": swap,
    "a copy of another": lambda storage, one, other: storage.replace(one, storage.content(other)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_changed_object_is_refused(storage: Storage, fault: str) -> None:
    body = storage.write([os.urandom(3 * PART)])
    one, other, _ = body.manifest.objects

    FAULTS[fault](storage, one, other)

    with pytest.raises(IntegrityError, match=one.id):
        read(storage.reader, body, shared=True)


@pytest.mark.parametrize("fault", ["cut by a byte", "longer by a byte"])
def test_object_of_wrong_size_is_refused_unread(storage: Storage, fault: str) -> None:
    body = storage.write([os.urandom(3 * PART)])
    one, other, _ = body.manifest.objects
    FAULTS[fault](storage, one, other)

    with pytest.raises(IntegrityError, match="bytes instead of"):
        storage.reader.missing(body.manifest.objects)


def test_reader_cannot_forge_a_shared_object() -> None:
    storage = Storage()
    body = storage.write([b"x" * 500])
    (ref,) = body.manifest.objects

    forged = b"".join(bytes(segment) for segment in seal(bytes.fromhex(ref.key), [memoryview(b"y" * 500)]))
    storage.replace(ref, forged)

    with pytest.raises(IntegrityError, match="does not match its signed SHA-256"):
        read(storage.reader, body, shared=True)


def test_shared_object_without_a_hash_is_refused() -> None:
    storage = Storage()
    body = storage.write([b"x" * 500], shared=False)

    assert read(storage.reader, body, shared=False) == [b"x" * 500]
    with pytest.raises(MalformedError, match="does not have the key and hash"):
        read(storage.reader, body, shared=True)


def with_objects(body: Body, **changes: object) -> Body:
    objects = [ref.model_copy(update=changes) for ref in body.manifest.objects]
    return replace(body, manifest=body.manifest.model_copy(update={"objects": objects}))


def test_plain_object_is_refused_with_encryption_on() -> None:
    storage = Storage()
    body = storage.write([b"x" * 500])
    storage.replace(body.manifest.objects[0], b"y" * sealed_size(500))

    with pytest.raises(MalformedError, match="does not have the key and hash"):
        read(storage.reader, with_objects(body, key=""), shared=True)


def test_sealed_object_is_refused_with_encryption_off() -> None:
    storage = Storage(encryption=False)
    body = storage.write([b"x" * 500])

    with pytest.raises(MalformedError, match="does not have the key and hash"):
        read(storage.reader, with_objects(body, key=new_key().hex()), shared=True)


def test_plain_object_without_a_hash_is_refused() -> None:
    storage = Storage(encryption=False)
    body = storage.write([b"x" * 500])

    with pytest.raises(MalformedError, match="does not have the key and hash"):
        read(storage.reader, with_objects(body, sha256=""), shared=False)


def test_object_does_not_open_with_another_key() -> None:
    storage = Storage()
    body = storage.write([b"x" * 500], shared=False)

    with pytest.raises(IntegrityError):
        read(storage.reader, with_objects(body, key=new_key().hex()), shared=False)


# Manifests that announce more than was sent


def peak_of(work: Callable[[], object]) -> tuple[int, SyftFlwrError]:
    tracemalloc.start()
    try:
        with pytest.raises(SyftFlwrError) as caught:
            work()
        return tracemalloc.get_traced_memory()[1], caught.value
    finally:
        tracemalloc.stop()


def announce(buffers: list[dict[str, Any]], objects: list[dict[str, Any]]) -> Body:
    text = json.dumps({"buffers": buffers, "objects": objects}).encode()
    return decode(len(text).to_bytes(4, "big") + text)


def test_missing_gigabytes_allocate_no_memory(storage: Storage) -> None:
    size = 64 << 20
    count = MAX_MESSAGE // size
    objects = [{"id": f"{number:032x}", "size": size, "key": "0" * 64, "sha256": "1" * 64} for number in range(count)]
    buffers = [{"size": size, "pieces": [[number, 0, size]]} for number in range(count)]
    body = announce(buffers, objects)

    peak, error = peak_of(lambda: read(storage.reader, body, shared=True))

    assert isinstance(error, NotFoundError)
    assert peak < 4_000_000


def test_overstated_size_allocates_no_memory(storage: Storage) -> None:
    body = storage.write([b"x" * 100])
    size = 64 << 20
    announced = announce(
        [{"size": size, "pieces": [[0, 0, size]]}],
        [{**body.manifest.objects[0].model_dump(), "size": size}],
    )

    peak, error = peak_of(lambda: read(storage.reader, announced, shared=True))

    assert isinstance(error, IntegrityError)
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "buffers",
    [
        pytest.param([[[0, 0, 900], [0, 0, 900]]], id="a buffer with itself"),
        pytest.param([[[0, 0, 500]], [[0, 499, 10]]], id="two by a byte"),
        pytest.param([[[0, 100, 10]], [[0, 0, 1_000]]], id="one within another"),
        pytest.param([[[0, 0, 600]], [[0, 0, 300], [0, 300, 300]]], id="the same bytes in other pieces"),
    ],
)
def test_overlapping_buffers_are_refused(storage: Storage, buffers: list[list[list[int]]]) -> None:
    body = storage.write([os.urandom(PART)])
    refs = [BufferRef(size=sum(piece[2] for piece in pieces), pieces=pieces) for pieces in buffers]

    with pytest.raises(MalformedError, match="overlap"):
        read(storage.reader, Body(Manifest(buffers=refs, objects=body.manifest.objects), b""), shared=True)


def test_many_views_of_an_object_allocate_no_memory() -> None:
    storage = Storage(part_size=1 << 20)
    body = storage.write([bytes(1 << 20)])
    size = 1 << 20
    # Each view is cut at another place, so that no two are equal: one gibibyte out of one mebibyte.
    buffers = [BufferRef(size=size, pieces=[[0, 0, cut], [0, cut, size - cut]]) for cut in range(1, 1_025)]
    overlapping = Body(Manifest(buffers=buffers, objects=body.manifest.objects), b"")

    peak, error = peak_of(lambda: read(storage.reader, overlapping, shared=True))

    assert isinstance(error, MalformedError)
    assert peak < 4_000_000


def test_reading_holds_each_buffer_once() -> None:
    storage = Storage(part_size=1 << 20)
    size = 8 << 20
    body = storage.write([os.urandom(size // 2), os.urandom(size // 2)])

    tracemalloc.start()
    try:
        buffers = read(storage.reader, body, shared=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert sum(map(len, buffers)) == size
    # In addition to the buffers, each reading thread holds two segments.
    assert peak < size * 1.5 + 8 * 2 * (1 << 20)
