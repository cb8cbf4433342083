"""Digests of requests: equal for equal buffers in any process and thread, different for all others."""

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
    """Return the digest as a new process computes it, without a cache."""
    return Digests().digest(buffers)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that records each large buffer when it is hashed, in order."""
    buffers: list[bytes] = []
    of_one: Callable[[bytes], bytes] = module._digest_of

    def count(buffer: bytes) -> bytes:
        buffers.append(buffer)
        return of_one(buffer)

    monkeypatch.setattr(module, "_digest_of", count)
    return buffers


# Content of a digest


_ELSEWHERE = """
from syft_flwr._messaging.asking.resume import Digests

print(Digests().digest([b"head", bytes(range(256)) * 100, b"", (b"0123456789abcdef" * 65_536) * 17 + b"tail"]))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_digest_is_equal_in_another_process(seed: str) -> None:
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
def test_equal_buffers_have_equal_digests(buffers: list[bytes]) -> None:
    assert digest([bytes(bytearray(buffer)) for buffer in buffers]) == digest(buffers)


@given(one=MODEL, other=MODEL)
def test_different_buffers_differ_in_digest(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@given(buffers=st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4), data=st.data())
def test_digest_depends_on_buffer_boundaries(buffers: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(buffers)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    divided = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert (digest(divided) == digest(buffers)) == (divided == buffers)


def test_digest_depends_on_order_and_empty_buffers() -> None:
    one, two = b"x" * LARGE, b"y" * LARGE
    all_different = [[one, two], [two, one], [one], [two], [one, two, b""], [b"", one, two], [], [b""], [b"", b""]]

    assert len({digest(buffers) for buffers in all_different}) == len(all_different)


# Large buffers


def test_digest_depends_on_buffer_size() -> None:
    sizes = [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1]
    zeros = bytes(2 * CHUNK + 1)

    assert len({digest([zeros[:size]]) for size in sizes}) == len(sizes)


@pytest.mark.parametrize("position", [0, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK])
def test_digest_depends_on_every_chunk(position: int) -> None:
    buffer = bytearray(2 * CHUNK + 1)
    before = digest([bytes(buffer)])
    buffer[position] = 1

    assert digest([bytes(buffer)]) != before


def test_digest_depends_on_chunk_order() -> None:
    one, two = b"1" * CHUNK, b"2" * CHUNK

    assert len({digest([one + two]), digest([two + one]), digest([one, two]), digest([one + one])}) == 4


def test_buffer_of_hashes_differs_from_its_chunks() -> None:
    chunks = [b"1" * CHUNK, b"2" * 100]
    hashes = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)

    assert digest([b"".join(chunks)]) != digest([hashes])


# Cache of large buffers


def test_large_buffer_is_hashed_once_for_all_peers(hashed: list[bytes]) -> None:
    contents = Digests()
    model = [os.urandom(LARGE), os.urandom(LARGE)]

    digests = {contents.digest([b"to %d" % number, *model]) for number in range(50)}

    assert len(digests) == 50
    assert hashed == model


def test_buffer_of_last_round_is_not_rehashed(hashed: list[bytes]) -> None:
    contents = Digests()
    frozen, heads = os.urandom(LARGE), [os.urandom(LARGE) for _ in range(3)]

    for head in heads:
        contents.digest([frozen, head])

    assert hashed == [frozen, *heads]


def test_reused_memory_address_is_hashed_again() -> None:
    contents = Digests()
    addresses = set()
    for number in range(100):
        # Freed at the end of each turn, so that a later buffer gets the same memory address.
        buffer = bytes([number]) * LARGE
        addresses.add(id(buffer))
        assert contents.digest([buffer]) == digest([bytes([number]) * LARGE])
        del buffer
    assert len(addresses) < 100, "no address was used twice, so this test showed nothing"


def test_buffers_are_released_after_next_message() -> None:
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


def test_concurrent_digests_are_correct() -> None:
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


def test_threads_hash_one_model_once(hashed: list[bytes]) -> None:
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
