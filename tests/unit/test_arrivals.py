"""Reading of message bodies with objects that arrive one by one, in any order."""

import errno
import io
import itertools
import os
import random
import tracemalloc
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syft_flwr._messaging.arrivals import Arrival, _copy, read
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import Body, ObjectRef, decode
from syft_flwr._messaging.wire.failures import told_by
from syft_flwr._messaging.wire.limits import INLINE_TOTAL
from syft_flwr.errors import IntegrityError, NotFoundError
from syft_flwr.names import AppNames
from syft_flwr.transport.memory import MemoryNetwork

DS, DO = "ds@x.org", "do@y.org"
NAMES = AppNames("app")
PART = 20_000


class Slow:
    """A message body. Its objects are hidden until ``arrive`` publishes them one by one."""

    def __init__(self, *buffers: bytes, encryption: bool = True) -> None:
        self.network = MemoryNetwork(part_size=PART)
        sender = ObjectFolder(self.network.transport(DO), NAMES, DO, encryption)
        self.body: Body = decode(make_body(buffers, sender, run=7, readers=[DS]).encode())
        self.folder = ObjectFolder(self.network.transport(DS), NAMES, DO, encryption)
        self.names = [NAMES.object(DO, ref.id) for ref in self.body.manifest.objects]
        self.held = {name: self.network.files.pop(name) for name in self.names}

    def arrive(self, number: int) -> None:
        self.network.files[self.names[number]] = self.held[self.names[number]]

    def vanish(self, number: int) -> None:
        del self.network.files[self.names[number]]


class Unreadable(ObjectFolder):
    """Objects on a disk that fails."""

    def open(self, ref: ObjectRef) -> BinaryIO:
        del ref
        # Linux cannot read the first page of a process.
        return open("/proc/self/mem", "rb")


def test_objects_open_in_any_arrival_order() -> None:
    model = [os.urandom(50_000), b"small", os.urandom(9_000)]
    for order in itertools.permutations(range(3)):
        slow = Slow(*model)
        arrival = Arrival(slow.folder, slow.body, shared=False)
        for count, number in enumerate(order, 1):
            assert not arrival.open_arrived()
            slow.arrive(number)
            assert arrival.open_arrived()
            assert arrival.progress == f"{count} of 3 objects"
            # An opened object is not needed again: the owner may delete it.
            slow.vanish(number)
        assert arrival.complete
        assert arrival.buffers() == model


def test_inline_buffers_need_no_object() -> None:
    slow = Slow(b"one", b"", b"three")
    arrival = Arrival(slow.folder, slow.body, shared=False)
    assert arrival.complete
    assert arrival.buffers() == [b"one", b"", b"three"]


def test_damaged_object_is_refused_on_arrival() -> None:
    slow = Slow(os.urandom(3 * PART))
    arrival = Arrival(slow.folder, slow.body, shared=False)
    content, readers = slow.held[slow.names[1]]
    slow.network.files[slow.names[1]] = (content[:-1] + bytes([content[-1] ^ 1]), readers)
    with pytest.raises(IntegrityError, match=slow.body.manifest.objects[1].id):
        arrival.open_arrived()


def test_text_of_a_disk_error_is_not_told_to_the_peer() -> None:
    slow = Slow(os.urandom(PART + INLINE_TOTAL))
    for number in range(len(slow.names)):
        slow.arrive(number)
    folder = Unreadable(slow.network.transport(DS), NAMES, DO, encryption=True)
    with pytest.raises(IntegrityError, match=os.strerror(errno.EIO)) as caught:
        Arrival(folder, slow.body, shared=False).open_arrived()
    told = told_by(caught.value)
    assert told.startswith("object ")
    assert told.endswith(f" of {DO} cannot be read")


def test_model_is_held_in_memory_once() -> None:
    model = os.urandom(4_000_000)
    slow = Slow(model)
    for number in range(len(slow.names)):
        slow.arrive(number)
    arrival = Arrival(slow.folder, slow.body, shared=False)
    tracemalloc.start()
    arrival.open_arrived()
    [buffer] = arrival.buffers()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert buffer == model
    # One copy of the model, and for each of two threads at most one part and its ciphertext.
    assert peak < 1.25 * len(model)


def test_missing_objects_use_no_memory() -> None:
    slow = Slow(os.urandom(4_000_000))
    tracemalloc.start()
    Arrival(slow.folder, slow.body, shared=False).open_arrived()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_read_fails_if_an_object_is_missing() -> None:
    slow = Slow(os.urandom(2 * PART))
    slow.arrive(0)
    with pytest.raises(NotFoundError, match=DO):
        read(slow.folder, slow.body, shared=False)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3 * PART), min_size=1, max_size=6),
    seed=st.randoms(use_true_random=False),
    encryption=st.booleans(),
)
def test_buffers_round_trip_in_any_sizes_and_order(sizes: list[int], seed: random.Random, encryption: bool) -> None:
    model = [os.urandom(size) for size in (*sizes, INLINE_TOTAL + 1)]
    slow = Slow(*model, encryption=encryption)
    arrival = Arrival(slow.folder, slow.body, shared=False)
    order = list(range(len(slow.names)))
    seed.shuffle(order)
    for number in order:
        slow.arrive(number)
        if seed.random() < 0.5:
            arrival.open_arrived()
    arrival.open_arrived()
    assert arrival.buffers() == model


def test_plain_objects_share_no_memory_to_hash() -> None:
    # Threads that open objects in parallel have one scratch memory for bytes of no buffer.
    scratch = memoryview(bytearray(10))
    one, two = (_copy(io.BytesIO(content), [scratch]) for content in (b"a" * 10, b"b" * 10))
    segment = next(one)
    next(two)
    assert bytes(segment) == b"a" * 10
