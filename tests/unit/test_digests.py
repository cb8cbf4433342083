"""The digest of what is asked: the same for the same, in any process and thread, and another for anything else."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr._messaging.asking import resume as module
from syft_flwr._messaging.asking.resume import Digests
from syft_flwr._messaging.wire.limits import INLINE_BUFFER

LARGE = INLINE_BUFFER + 1
CHUNK = 16 << 20
MODEL = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([bytes([n]) * (LARGE + n) for n in range(3)])), max_size=5
)


def digest(buffers: Sequence[bytes]) -> str:
    """The digest in a process that has seen nothing yet."""
    return Digests().digest(buffers)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The large buffers that were looked at, byte by byte, in order."""
    buffers: list[bytes] = []
    of_one: Callable[[bytes], bytes] = module._digest_of

    def count(buffer: bytes) -> bytes:
        buffers.append(buffer)
        return of_one(buffer)

    monkeypatch.setattr(module, "_digest_of", count)
    return buffers


# What it says


_ELSEWHERE = """
from syft_flwr._messaging.asking.resume import Digests

print(Digests().digest([b"head", bytes(range(256)) * 100, b"", (b"0123456789abcdef" * 65_536) * 17 + b"tail"]))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_equal_content_has_the_same_digest_in_another_process(seed: str) -> None:
    buffers = [b"head", bytes(range(256)) * 100, b"", (b"0123456789abcdef" * 65_536) * 17 + b"tail"]

    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == digest(buffers)


@given(buffers=MODEL)
def test_equal_buffers_have_equal_digests_whatever_objects_they_are(buffers: list[bytes]) -> None:
    assert digest([bytes(bytearray(buffer)) for buffer in buffers]) == digest(buffers)


@given(one=MODEL, other=MODEL)
def test_other_buffers_have_another_digest(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@given(buffers=st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4), data=st.data())
def test_the_same_bytes_divided_otherwise_have_another_digest(buffers: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(buffers)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    divided = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert (digest(divided) == digest(buffers)) == (divided == buffers)


def test_order_counts_and_so_does_an_empty_buffer() -> None:
    one, two = b"x" * LARGE, b"y" * LARGE
    all_different = [[one, two], [two, one], [one], [two], [one, two, b""], [b"", one, two], [], [b""], [b"", b""]]

    assert len({digest(buffers) for buffers in all_different}) == len(all_different)


# Large buffers


def test_buffers_of_one_chunk_and_of_several_are_told_apart_by_their_size() -> None:
    sizes = [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1]
    zeros = bytes(2 * CHUNK + 1)

    assert len({digest([zeros[:size]]) for size in sizes}) == len(sizes)


@pytest.mark.parametrize("position", [0, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK])
def test_a_byte_of_any_chunk_counts(position: int) -> None:
    buffer = bytearray(2 * CHUNK + 1)
    before = digest([bytes(buffer)])
    buffer[position] = 1

    assert digest([bytes(buffer)]) != before


def test_the_order_of_chunks_counts() -> None:
    one, two = b"1" * CHUNK, b"2" * CHUNK

    assert len({digest([one + two]), digest([two + one]), digest([one, two]), digest([one + one])}) == 4


def test_a_buffer_of_hashes_is_not_mistaken_for_the_chunks_that_have_them() -> None:
    chunks = [b"1" * CHUNK, b"2" * 100]
    hashes = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)

    assert digest([b"".join(chunks)]) != digest([hashes])


# Each large buffer once


def test_a_large_buffer_is_hashed_once_for_all_addressees(hashed: list[bytes]) -> None:
    contents = Digests()
    model = [os.urandom(LARGE), os.urandom(LARGE)]

    digests = {contents.digest([b"to %d" % number, *model]) for number in range(50)}

    assert len(digests) == 50
    assert hashed == model


def test_a_buffer_of_the_round_before_is_hashed_no_second_time(hashed: list[bytes]) -> None:
    contents = Digests()
    frozen, heads = os.urandom(LARGE), [os.urandom(LARGE) for _ in range(3)]

    for head in heads:
        contents.digest([frozen, head])

    assert hashed == [frozen, *heads]


def test_a_buffer_of_the_same_address_as_a_forgotten_one_is_not_mistaken_for_it() -> None:
    contents = Digests()
    addresses = set()
    for number in range(100):
        # Freed at the end of each turn, so that a later one has its address.
        buffer = bytes([number]) * LARGE
        addresses.add(id(buffer))
        assert contents.digest([buffer]) == digest([bytes([number]) * LARGE])
        del buffer
    assert len(addresses) < 100, "no address came twice, so this showed nothing"


def test_no_buffer_is_held_longer_than_the_next_message_or_the_end_of_the_run() -> None:
    contents = Digests()
    first, second = os.urandom(LARGE), os.urandom(LARGE)
    free = sys.getrefcount(first)

    contents.digest([first])
    held = sys.getrefcount(first)
    contents.digest([second])
    assert (held > free, sys.getrefcount(first)) == (True, free)

    assert sys.getrefcount(second) > free
    contents.forget()
    assert sys.getrefcount(second) == free
    assert contents.digest([first]) == digest([first])


# Threads


def test_threads_that_ask_at_once_get_the_digest_of_what_they_asked() -> None:
    contents = Digests()
    shared = [os.urandom(LARGE) for _ in range(4)]
    together = threading.Barrier(8)

    def ask(thread: int) -> list[tuple[list[bytes], str]]:
        together.wait()
        messages = [[shared[(thread + turn) % 4], b"%d" % thread, os.urandom(LARGE)] for turn in range(50)]
        return [(message, contents.digest(message)) for message in messages]

    with ThreadPoolExecutor(8) as threads:
        asked = [pair for pairs in threads.map(ask, range(8)) for pair in pairs]

    assert [given for _, given in asked] == [digest(message) for message, _ in asked]


def test_threads_with_one_model_hash_it_once(hashed: list[bytes]) -> None:
    contents = Digests()
    model = [os.urandom(LARGE) for _ in range(3)]
    together = threading.Barrier(8)

    def ask(thread: int) -> str:
        together.wait()
        return contents.digest([*model, b"%d" % (thread % 2)])

    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(ask, range(8)))

    assert len(digests) == 2
    assert hashed == model
