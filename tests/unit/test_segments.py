"""The segment stream: its bytes do not depend on the division of the input, and every fault is refused."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr._crypto import segments
from syft_flwr._crypto.segments import KEY_SIZE, TAG_SIZE, new_key, open_segments, seal, sealed_size
from syft_flwr.errors import IntegrityError

KEY = bytes(range(KEY_SIZE))
SMALL = 16
SEALED = SMALL + TAG_SIZE


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the segment size to 16 bytes, so that a short text has many segments."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", SMALL)


pytestmark = pytest.mark.usefixtures("small_segments")


def reference(plaintext: bytes, size: int) -> bytes:
    """Return the sealed stream, computed directly from its specification."""
    cipher = AESGCM(KEY)
    starts = range(0, len(plaintext), size)
    return b"".join(
        cipher.encrypt(
            number.to_bytes(11, "big") + (b"\x01" if start == starts[-1] else b"\x00"),
            plaintext[start : start + size],
            None,
        )
        for number, start in enumerate(starts)
    )


def divide(data: bytes, cuts: Sequence[int]) -> list[memoryview]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [memoryview(data)[start:end] for start, end in pairwise(edges)]


def seal_all(plaintext: bytes, cuts: Sequence[int] = (), key: bytes = KEY) -> bytes:
    return b"".join(bytes(segment) for segment in seal(key, divide(plaintext, cuts)))


def open_all(sealed: bytes, size: int, cuts: Sequence[int] = (), key: bytes = KEY) -> bytes:
    target = bytearray(size)
    edges = [0, *sorted(min(cut, size) for cut in cuts), size]
    views = [memoryview(target)[start:end] for start, end in pairwise(edges)]
    for _ in open_segments(key, io.BytesIO(sealed), views):
        pass
    return bytes(target)


PLAINTEXT = st.binary(min_size=1, max_size=5 * SMALL + 3)
CUTS = st.lists(st.integers(0, 5 * SMALL + 3), max_size=8)


# Division of the input


@given(plaintext=PLAINTEXT, cuts=CUTS)
def test_division_of_plaintext_does_not_matter(plaintext: bytes, cuts: list[int]) -> None:
    sealed = seal_all(plaintext, cuts)

    assert sealed == reference(plaintext, SMALL)
    assert len(sealed) == sealed_size(len(plaintext))


@given(plaintext=PLAINTEXT, cuts=CUTS)
def test_stream_opens_into_any_division_of_targets(plaintext: bytes, cuts: list[int]) -> None:
    assert open_all(reference(plaintext, SMALL), len(plaintext), cuts) == plaintext


@pytest.mark.parametrize("size", [1, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, 3 * SMALL - 1, 3 * SMALL])
def test_streams_round_trip_at_segment_edges(size: int) -> None:
    plaintext = bytes(range(size))

    assert open_all(seal_all(plaintext), size) == plaintext
    for cut in range(size + 1):
        assert seal_all(plaintext, [cut, cut]) == reference(plaintext, SMALL)
        assert open_all(reference(plaintext, SMALL), size, [cut, cut]) == plaintext


@given(plaintext=PLAINTEXT)
def test_opening_yields_the_sealed_segments(plaintext: bytes) -> None:
    file = reference(plaintext, SMALL)
    target = memoryview(bytearray(len(plaintext)))

    assert b"".join(bytes(segment) for segment in open_segments(KEY, io.BytesIO(file), [target])) == file


class Dripping(io.BytesIO):
    """A file that returns one byte at a time, as a pipe can."""

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        return super().readinto(target[:1])


def test_short_reads_are_continued() -> None:
    target = bytearray(40)

    for _ in open_segments(KEY, Dripping(reference(b"x" * 40, SMALL)), [memoryview(target)]):
        pass

    assert target == b"x" * 40


def test_segments_share_one_buffer() -> None:
    seen = [(segment, bytes(segment)) for segment in seal(KEY, [memoryview(bytes(range(40)))])]

    # All segments share one buffer, so at the end all views hold the same bytes.
    assert len({bytes(view[: len(seen[-1][1])]) for view, _ in seen}) == 1
    assert b"".join(content for _, content in seen) == reference(bytes(range(40)), SMALL)


# Faults


def flips(sealed: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("size", [1, SMALL, SMALL + 5, 3 * SMALL])
def test_stream_with_a_changed_bit_is_refused(size: int) -> None:
    for changed in flips(reference(bytes(range(size)), SMALL)):
        with pytest.raises(IntegrityError):
            open_all(changed, size)


@pytest.mark.parametrize("size", [1, SMALL, SMALL + 5, 3 * SMALL])
def test_stream_cut_at_any_byte_is_refused(size: int) -> None:
    sealed = reference(bytes(range(size)), SMALL)

    for length in range(len(sealed)):
        with pytest.raises(IntegrityError):
            open_all(sealed[:length], size)


def whole(number: int) -> slice:
    return slice(number * SEALED, (number + 1) * SEALED)


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "swapped": lambda sealed: sealed[whole(1)] + sealed[whole(0)] + sealed[2 * SEALED :],
    "duplicated": lambda sealed: sealed[whole(0)] + sealed[whole(0)] + sealed[2 * SEALED :],
    "inserted": lambda sealed: sealed[whole(0)] + sealed,
    "removed": lambda sealed: sealed[SEALED:],
    "removed from the middle": lambda sealed: sealed[whole(0)] + sealed[2 * SEALED :],
    "a byte appended": lambda sealed: sealed + b"\x00",
    "a segment appended": lambda sealed: sealed + sealed[whole(2)],
    "the stream appended": lambda sealed: sealed + sealed,
    "the last first": lambda sealed: sealed[whole(2)] + sealed[whole(1)] + sealed[whole(0)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_reordered_or_extra_segments_are_refused(fault: str) -> None:
    sealed = reference(bytes(range(3 * SMALL)), SMALL)

    with pytest.raises(IntegrityError):
        open_all(FAULTS[fault](sealed), 3 * SMALL)


@pytest.mark.parametrize("kept", [1, 2])
def test_stream_cut_between_segments_is_refused(kept: int) -> None:
    sealed = reference(bytes(range(3 * SMALL)), SMALL)

    # The flag of the last segment is missing, so even a reader that expects the shorter size refuses it.
    with pytest.raises(IntegrityError):
        open_all(sealed[: kept * SEALED], kept * SMALL)


def test_finished_stream_cannot_be_continued() -> None:
    one = reference(bytes(SMALL), SMALL)
    two = reference(bytes(2 * SMALL), SMALL)

    with pytest.raises(IntegrityError):
        open_all(one + two[SEALED:], 2 * SMALL)


@pytest.mark.parametrize("announced", [1, SMALL, 2 * SMALL - 1, 2 * SMALL + 1, 5 * SMALL])
def test_wrong_announced_size_is_refused(announced: int) -> None:
    with pytest.raises(IntegrityError):
        open_all(reference(bytes(2 * SMALL), SMALL), announced)


def test_stream_opens_only_with_its_own_key() -> None:
    sealed = reference(b"content", SMALL)

    with pytest.raises(IntegrityError):
        open_all(sealed, 7, key=new_key())


def test_no_segment_follows_a_damaged_one() -> None:
    sealed = bytearray(reference(bytes(range(3 * SMALL)), SMALL))
    sealed[SEALED] ^= 1
    target = memoryview(bytearray(3 * SMALL))
    opened = open_segments(KEY, io.BytesIO(bytes(sealed)), [target])

    assert bytes(next(opened)) == bytes(sealed[:SEALED])
    with pytest.raises(IntegrityError):
        next(opened)
    assert bytes(target[SMALL:]) == bytes(2 * SMALL)


def test_keys_are_random_and_have_256_bits() -> None:
    keys = {new_key() for _ in range(20)}

    assert len(keys) == 20
    assert {len(key) for key in keys} == {KEY_SIZE}


def test_error_hides_key_and_content() -> None:
    with pytest.raises(IntegrityError) as caught:
        open_all(b"\x00" * SEALED, SMALL)

    assert str(caught.value) == "a segment was changed, moved or sealed with another key"


# The real segment size


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_segment_holds_one_mebibyte(monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    mebibyte = 1 << 20
    monkeypatch.undo()
    assert mebibyte == segments.SEGMENT_SIZE
    plaintext = (bytes(range(256)) * (2 * mebibyte // 256 + 1))[: 2 * mebibyte + extra]

    sealed = seal_all(plaintext, [5, mebibyte + 7])

    assert sealed == reference(plaintext, mebibyte)
    assert len(sealed) == sealed_size(len(plaintext)) == len(plaintext) + TAG_SIZE * (2 + (extra > 0))
    assert open_all(sealed, len(plaintext), [3, mebibyte]) == plaintext
