"""Broadcast of one model to many peers: written once, kept while a message needs it, deleted afterwards."""

import os
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syft_flwr._crypto.segments import sealed_size
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.body import Body, decode
from syft_flwr._messaging.wire.limits import INLINE_TOTAL, MAX_USES
from syft_flwr.errors import StorageFullError
from syft_flwr.names import AppNames
from syft_flwr.transport.base import Data
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO = "ds@x.org", "do@y.org"
NAMES = AppNames("app")
PART = 10_000
LARGE = INLINE_TOTAL + 1


class Counting(MemoryTransport):
    """A transport that counts its writes and can act as a full disk."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network, DS)
        self.writes = 0
        self.full = False

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        if self.full:
            raise StorageFullError("no room left")
        self.writes += 1
        super().put(name, data, readers=readers, replace=replace)


class Sender:
    def __init__(self, *, encryption: bool = True, part_size: int = 1 << 20) -> None:
        self.network = MemoryNetwork(part_size=part_size)
        self.transport = Counting(self.network)
        self.broadcast = Broadcast(ObjectFolder(self.transport, NAMES, DS, encryption))
        self.reader = ObjectFolder(self.network.transport(DO), NAMES, DS, encryption)

    def send(self, holder: str, *buffers: bytes) -> Body:
        body, self.written = self.broadcast.make_body(buffers, run=7, readers=[DO], holder=holder)
        return decode(body.encode())

    def read(self, body: Body) -> list[bytes]:
        return read(self.reader, body, shared=True)

    @property
    def files(self) -> set[str]:
        return set(self.network.files)


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.broadcast.close()
    assert sender.files == set()


def test_same_buffers_are_written_once(sender: Sender) -> None:
    model = [os.urandom(LARGE), os.urandom(LARGE)]

    bodies = [sender.send(f"message {number}", *model) for number in range(100)]

    assert sender.transport.writes == 1
    assert sender.written == 0
    assert all(sender.read(body) == model for body in bodies)
    assert len({body.manifest.objects[0].id for body in bodies}) == 1


def test_personal_message_may_be_inline(tmp_path: Path) -> None:
    with closing(SyftBoxTransport(tmp_path, DS)) as transport:
        broadcast = Broadcast(ObjectFolder(transport, NAMES, DS, True))
        update = [b"config", os.urandom(1_000_000)]

        alone, written = broadcast.make_body(update, run=7, readers=[DO], holder="one", personal=True)
        shared, _ = broadcast.make_body(update, run=7, readers=[DO], holder="two")

        assert (alone.manifest.objects, alone.inline, written) == ([], b"".join(update), 0)
        assert len(shared.manifest.objects) == 1
        assert [entry.name for entry in transport.list(f"{DS}/")] == [
            NAMES.object(DS, shared.manifest.objects[0].id, pushed=True)
        ]
        broadcast.close()
        assert list(transport.list(f"{DS}/")) == []


def test_only_first_send_counts_written_bytes(sender: Sender) -> None:
    model = os.urandom(LARGE)

    sender.send("one", model)
    assert sender.written == sealed_size(LARGE)
    sender.send("two", model)
    assert sender.written == 0


def test_unchanged_array_is_not_rewritten(sender: Sender) -> None:
    frozen, first, second = os.urandom(LARGE), os.urandom(LARGE), os.urandom(LARGE)
    sender.send("round 1", frozen, first)
    sender.broadcast.release("round 1")

    # A new Python object with the same bytes, as after a round of aggregation.
    body = sender.send("round 2", bytes(bytearray(frozen)), second)

    assert sender.written == sealed_size(LARGE)
    assert sender.read(body) == [frozen, second]


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_lost_object_is_written_again(sender: Sender, damage: str) -> None:
    frozen, other = os.urandom(LARGE), os.urandom(LARGE)
    sender.send("round 1", frozen)
    sender.broadcast.release("round 1")
    [name] = sender.files
    content, readers = sender.network.files.pop(name)
    if damage == "cut":
        sender.network.files[name] = (content[:-1], readers)

    body = sender.send("round 2", frozen, other)

    assert sender.read(body) == [frozen, other]
    assert sender.written == sealed_size(2 * LARGE)


@pytest.mark.parametrize("position", [0, LARGE // 2, LARGE - 1])
def test_array_with_one_changed_byte_is_rewritten(sender: Sender, position: int) -> None:
    before = os.urandom(LARGE)
    after = before[:position] + bytes([before[position] ^ 1]) + before[position + 1 :]
    sender.send("round 1", before)

    body = sender.send("round 2", after)

    assert sender.written == sealed_size(LARGE)
    assert sender.read(body) == [after]


@pytest.mark.parametrize("encryption", [True, False], ids=["sealed", "plain"])
def test_buffers_spanning_parts_are_read_back(encryption: bool) -> None:
    sender = Sender(encryption=encryption, part_size=PART)
    model = [os.urandom(size) for size in (25_000, 1, 9_000, 33_333, 8_193)]

    body = sender.send("one", *model)

    assert len(body.manifest.objects) > 5
    assert sender.read(body) == model


def test_tied_buffers_are_stored_and_read_once(sender: Sender) -> None:
    tied = os.urandom(LARGE)

    body = sender.send("one", tied, os.urandom(LARGE), tied)
    first, _, third = sender.read(body)

    assert sender.written == sealed_size(2 * LARGE)
    assert first == tied
    assert third is first


def test_equal_buffers_beyond_the_limit_are_copied(sender: Sender) -> None:
    zeros = [bytes(LARGE) for _ in range(2 * MAX_USES + 1)]
    body = sender.send("one", *zeros)
    assert sender.read(body) == zeros
    assert sender.written == sealed_size(3 * LARGE)
    # The same bytes object, equal ones, and fewer of them need no write in the next round.
    for buffers in (zeros, [zeros[0]] * len(zeros), [bytes(LARGE)] * len(zeros), zeros[:MAX_USES]):
        assert sender.read(sender.send("two", *buffers)) == buffers
        assert sender.written == 0
    assert sender.read(sender.send("three", *zeros, *zeros)) == zeros * 2
    assert sender.written == sealed_size(2 * LARGE)


def test_small_buffers_are_sent_inline(sender: Sender) -> None:
    assert sender.read(sender.send("one", b"small", b"")) == [b"small", b""]
    assert sender.transport.writes == 0


def test_subset_of_sent_buffers_needs_no_write(sender: Sender) -> None:
    one, two, three = (os.urandom(LARGE) for _ in range(3))
    sender.send("all", one, two, three)

    assert sender.read(sender.send("two", two)) == [two]
    assert sender.read(sender.send("mixed", three, b"small", one)) == [three, b"small", one]
    assert sender.transport.writes == 1


# Lifetime of objects


def test_objects_stay_until_released_and_replaced(sender: Sender) -> None:
    first, second = os.urandom(LARGE), os.urandom(LARGE)
    bodies = [sender.send(holder, first) for holder in ("a", "b", "c")]
    (old,) = sender.files

    sender.broadcast.release("a")
    sender.send("next", second)
    sender.broadcast.release("b")
    assert old in sender.files
    assert sender.read(bodies[2]) == [first]

    sender.broadcast.release("c")
    sender.send("next again", second)
    assert old not in sender.files
    assert len(sender.files) == 1


def test_released_model_is_kept_for_next_send(sender: Sender) -> None:
    model = os.urandom(LARGE)
    sender.send("train", model)
    sender.broadcast.release("train")

    body = sender.send("evaluate", model)

    assert sender.transport.writes == 1
    assert sender.read(body) == [model]


def test_message_without_arrays_deletes_nothing(sender: Sender) -> None:
    model = os.urandom(LARGE)
    sender.send("train", model)
    sender.broadcast.release("train")

    sender.send("query", b"small")

    assert len(sender.files) == 1


def test_shared_object_stays_while_one_buffer_is_used(sender: Sender) -> None:
    frozen, first, second = os.urandom(LARGE), os.urandom(LARGE), os.urandom(LARGE)
    sender.send("round 1", frozen, first)
    sender.broadcast.release("round 1")

    body = sender.send("round 2", frozen, second)
    sender.broadcast.release("round 2")

    assert sender.read(body) == [frozen, second]
    assert len(sender.files) == 2


def test_repeated_or_unknown_release_is_harmless(sender: Sender) -> None:
    model = os.urandom(LARGE)
    body = sender.send("one", model)

    sender.broadcast.release("unknown")
    sender.broadcast.release("one")
    sender.broadcast.release("one")

    assert sender.read(body) == [model]


def test_reused_memory_address_is_a_new_model(sender: Sender) -> None:
    for number in range(50):
        # Freed at the end of each turn, so that the next model usually gets the same memory address.
        model = bytes([number]) * LARGE
        body = sender.send(f"round {number}", model)
        assert sender.read(body) == [model]
        sender.broadcast.release(f"round {number}")
        del model, body

    assert len(sender.files) == 1


def test_send_after_full_disk_writes_again(sender: Sender) -> None:
    model = os.urandom(LARGE)
    sender.transport.full = True
    with pytest.raises(StorageFullError):
        sender.send("one", model)
    assert sender.files == set()

    sender.transport.full = False

    assert sender.read(sender.send("two", model)) == [model]


def test_close_deletes_all_objects(sender: Sender) -> None:
    sender.send("one", os.urandom(LARGE))
    sender.send("two", os.urandom(LARGE))
    assert len(sender.files) == 2

    sender.broadcast.close()

    assert sender.files == set()


def test_eight_threads_write_one_model_once(sender: Sender) -> None:
    model = [os.urandom(LARGE) for _ in range(3)]
    together = threading.Barrier(8)

    def send(number: int) -> Body:
        together.wait()
        return sender.send(f"message {number}", *model)

    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(send, range(8)))

    assert sender.transport.writes == 1
    assert all(sender.read(body) == model for body in bodies)


def test_concurrent_releases_leave_no_stale_object(sender: Sender) -> None:
    models = [os.urandom(LARGE) for _ in range(4)]

    def use(number: int) -> None:
        model = models[number % 4]
        body = sender.send(f"message {number}", model)
        assert sender.read(body) == [model]
        sender.broadcast.release(f"message {number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(64)))

    sender.send("last", models[0])
    assert len(sender.files) == 1


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
        st.tuples(st.just("renew"), st.integers(0, 5)),
        st.tuples(st.just("change"), st.integers(0, 5)),
        st.tuples(st.just("release"), st.integers(0, 20)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(actions=ACTIONS, part_size=st.sampled_from([5_000, 50_000, 1 << 20]))
def test_open_message_is_always_readable(actions: list[tuple[str, object]], part_size: int) -> None:
    sender = Sender(part_size=part_size, encryption=False)
    arrays = [bytes([number]) * LARGE for number in range(6)]
    changes = 10
    held: dict[str, tuple[Body, list[bytes]]] = {}
    for step, (action, argument) in enumerate(actions):
        if action == "send":
            assert isinstance(argument, list)
            buffers = [arrays[index] for index in argument]
            held[f"message {step}"] = (sender.send(f"message {step}", *buffers), buffers)
        elif action == "renew":
            assert isinstance(argument, int)
            arrays[argument] = bytes(bytearray(arrays[argument]))
        elif action == "change":
            assert isinstance(argument, int)
            changes += 1
            arrays[argument] = bytes([changes]) * LARGE
        elif held:
            assert isinstance(argument, int)
            holder = list(held)[argument % len(held)]
            del held[holder]
            sender.broadcast.release(holder)
        for body, _ in held.values():
            assert sender.reader.missing(body.manifest.objects) == []
    for body, buffers in held.values():
        assert sender.read(body) == buffers
    for holder in held:
        sender.broadcast.release(holder)

    sender.send("last", bytes([200]) * LARGE)
    assert len(sender.files) == -(-LARGE // part_size)
    sender.broadcast.close()
    assert sender.files == set()
