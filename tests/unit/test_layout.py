"""The layout of a message: the buffers in the envelope, and the sizes and names of the parts of the rest."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr._crypto.keys import Identity
from syft_flwr._crypto.segments import sealed_size
from syft_flwr._messaging.layout import LayoutLimits, Parts, cut, lay_out, personal, split_inline
from syft_flwr._messaging.wire.body import BufferRef, Manifest, ObjectRef
from syft_flwr._messaging.wire.limits import (
    INLINE_TOTAL,
    MAX_BUFFERS,
    MAX_MANIFEST,
    MAX_MESSAGE,
    MAX_OBJECT,
    MAX_OBJECTS,
)
from syft_flwr._messaging.wire.sealing import seal_request

MB = 1_000_000
SYFTBOX = LayoutLimits(inline_size=3_120_000, part_size=2 << 20, pushed_size=3_140_000, pushed_message=128 << 20)
UNKNOWN = replace(SYFTBOX, part_size=256 << 10, pushed_message=32 << 20, probe_size=2 << 20)
DRIVE = LayoutLimits(inline_size=INLINE_TOTAL, part_size=64 << 20, pushed_size=0, pushed_message=0)


# Parts


@given(total=st.integers(1, 128 << 20))
def test_pushed_parts_fit_into_one_push_each(total: int) -> None:
    parts = SYFTBOX.parts_of(total)

    assert parts.pushed
    assert parts.first == parts.size
    assert sealed_size(parts.size) <= SYFTBOX.pushed_size
    assert -(-total // parts.size) == -(-total // SYFTBOX.part_size)


@given(total=st.integers(1, 128 << 20))
def test_large_parts_are_cut_to_one_push_each(total: int) -> None:
    parts = replace(SYFTBOX, part_size=64 << 20).parts_of(total)

    assert parts.pushed
    assert sealed_size(parts.size) <= SYFTBOX.pushed_size


@pytest.mark.parametrize("total", [(128 << 20) + 1, 500 * MB, 8 << 30])
def test_larger_messages_get_small_parts_for_the_scan(total: int) -> None:
    assert SYFTBOX.parts_of(total) == Parts(2 << 20, 2 << 20, pushed=False)


@given(total=st.integers((8 << 30) + 1, MAX_MESSAGE))
def test_number_of_parts_is_bounded(total: int) -> None:
    for limits in (SYFTBOX, DRIVE):
        parts = limits.parts_of(total)

        assert not parts.pushed
        assert parts.first == parts.size <= MAX_OBJECT
        assert -(-total // parts.size) <= 4_096 < MAX_OBJECTS


def test_largest_message_fits_into_the_manifest() -> None:
    plan = SYFTBOX.parts_of(MAX_MESSAGE)
    each = MAX_MESSAGE // MAX_BUFFERS
    places: list[BufferRef] = [BufferRef(size=each)] * MAX_BUFFERS
    parts = list(cut([each] * MAX_BUFFERS, plan))
    pieces: list[list[list[int]]] = [[] for _ in places]
    for index, spans in enumerate(parts):
        offset = 0
        for number, start, end in spans:
            pieces[number].append([index, offset, end - start])
            offset += end - start
    refs = [
        ObjectRef(id=f"{number:032x}", size=plan.size, key="0" * 64, sha256="1" * 64) for number in range(len(parts))
    ]
    buffers = [BufferRef(size=each, pieces=located) for located in pieces]

    manifest = Manifest(buffers=buffers, objects=refs).model_dump_json(exclude_defaults=True)

    assert len(manifest) < MAX_MANIFEST


@given(total=st.integers(1, 64 << 20))
def test_names_never_change_where_nothing_is_pushed(total: int) -> None:
    assert DRIVE.parts_of(total) == Parts(64 << 20, 64 << 20, pushed=False)


@given(total=st.integers(1, MAX_MESSAGE))
def test_first_part_is_a_probe_while_the_link_is_unknown(total: int) -> None:
    parts = UNKNOWN.parts_of(total)

    if total <= 1 << 30:
        assert parts.first == max(min(total, 2 << 20), parts.size)
        assert parts.size <= 256 << 10
    assert parts.is_pushed(0) == (parts.pushed or parts.first > parts.size)
    assert parts.is_pushed(1) == (total <= 32 << 20)


@given(sizes=st.lists(st.integers(1, 200), max_size=8), first=st.integers(1, 300), size=st.integers(1, 300))
def test_parts_have_the_planned_sizes(sizes: list[int], first: int, size: int) -> None:
    parts = [sum(end - start for _, start, end in part) for part in cut(sizes, Parts(first, size, pushed=True))]

    assert sum(parts) == sum(sizes)
    assert parts[:1] == ([min(first, sum(sizes))] if sizes else [])
    assert all(part == size for part in parts[1:-1])
    assert all(0 < part <= size for part in parts[1:])


# Inline


@pytest.mark.parametrize("count", [1, 7, 1_000, MAX_BUFFERS])
def test_largest_inline_message_fits_into_one_push(count: int) -> None:
    """Fill an envelope with inline buffers up to the limit, with the longest header, and compare it with the push."""
    size = SYFTBOX.inline_size // count - 24
    buffers = [bytes(size)] * count
    assert split_inline(buffers, SYFTBOX.inline_size) == [True] * count
    me, peer = Identity.generate(), Identity.generate()
    body = lay_out(buffers, [True] * count, [], []).spent(download=0.123456789, wait=1e9, open=1e9, run=1e9, seal=1e9)

    envelope = seal_request(
        body,
        email="a" * 64 + "@" + "x" * 60 + ".org",
        identity=me,
        recipient="b" * 64 + "@" + "y" * 60 + ".org",
        peer=peer.public,
        message_id="0" * 32,
        run=1 << 62,
        app="a" * 64,
        kind="🙂" * 128,
        group="🙃" * 128,
        created=datetime(2030, 1, 1, tzinfo=UTC),
        expires=datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=1),
        encryption=True,
    )

    assert len(envelope) <= SYFTBOX.pushed_size


def test_message_above_the_limit_keeps_only_small_buffers_inline() -> None:
    buffers = [bytes(SYFTBOX.inline_size), b"config"]

    assert split_inline(buffers, SYFTBOX.inline_size) == [False, True]


def test_small_message_is_inline_under_each_limit() -> None:
    assert split_inline([bytes(INLINE_TOTAL)], 0) == [True]


# Personal messages


def model(number: int = 0) -> bytes:
    return bytes([number]) * 100_000


def test_equal_models_are_not_personal() -> None:
    assert personal([[b"config", model()], [b"config", bytes(model())]]) == [False, False]


def test_different_models_are_personal() -> None:
    assert personal([[b"config", model(1)], [b"config", model(2)], [b"config", model(3)]]) == [True, True, True]


def test_a_shared_layer_makes_messages_shared() -> None:
    assert personal([[model(0), model(1)], [model(0), model(2)], [model(3)]]) == [False, False, True]


def test_many_small_shared_buffers_count_together() -> None:
    layers = [os.urandom(5_000) for _ in range(20)]

    assert personal([layers, list(layers)]) == [False, False]


def test_a_single_message_is_not_known_to_be_personal() -> None:
    assert personal([[model()]]) == [False]
