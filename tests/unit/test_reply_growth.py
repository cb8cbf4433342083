"""Replies whose arrays would grow beyond the limit are refused, and only those of the data owner that caused it."""

import contextlib
import io
import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict

from syft_flwr.fl_orchestrator.reply_growth import ReplyGrowth
from syft_flwr.flower import make_message

#: (N,) and (N, 1) are added as 512 MiB.
N = 8192
Shape = tuple[int, ...]


def content(*shapes: Shape, keys: str = "", record: str = "arrays", kind: Any = np.float32) -> RecordDict:
    arrays = {
        (keys[number] if keys else f"k{number}"): Array("", (), "numpy.ndarray", Array(np.zeros(shape, kind)).data)
        for number, shape in enumerate(shapes)
    }
    return RecordDict({record: ArrayRecord(arrays)})


def message(records: RecordDict, node: int = 0, group: str = "1") -> Message:
    return make_message(metadata=Metadata(1, "", 0, node, "", group, 0.0, 60.0, "train"), content=records)


def asked(*requests: RecordDict, group: str = "1") -> ReplyGrowth:
    """Return the growth after one request to each of the data owners 0, 1, 2 and so on."""
    growth = ReplyGrowth()
    ask(growth, *requests, group=group)
    return growth


def ask(growth: ReplyGrowth, *requests: RecordDict, group: str = "1") -> None:
    sent = [(str(node), message(records, node, group)) for node, records in enumerate(requests)]
    growth.note_requests(sent)


def refused(growth: ReplyGrowth, *replies: RecordDict, first: int = 0) -> dict[str, str]:
    found = growth.refuse([(str(first + number), message(reply)) for number, reply in enumerate(replies)])
    return {message_id: str(error) for message_id, error in found.items()}


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ((N,), (N, 1)),
        ((1, N), (N, 1)),
        ((N, 1), (N,)),
        ((N, 4), (N, 1, 1)),
        ((300, 1, 300), (300, 1, 1, 1)),
    ],
)
def test_array_that_grows_with_the_request_is_refused(model: Shape, wrong: Shape) -> None:
    growth = asked(*[content(model)] * 3)
    found = refused(growth, content(wrong), content(model), content(model))
    expected = {"0"} if 0 not in wrong else set()
    assert found.keys() == expected
    if expected:
        assert (
            f"record 'arrays', key 'k0': NumPy would add arrays of the shapes {wrong} and {model} as one of "
            in found["0"]
        )


@pytest.mark.parametrize(
    "wrong",
    [
        content((N, 1), keys="w", record="other"),
        # By number, as a strategy does that does not know the keys.
        content((N, 1), keys="v"),
        content((N, 1), kind=np.int8, keys="w"),
        RecordDict({**content((1,), keys="w"), **content((N, 1), keys="w", record="more")}),
        RecordDict({**content(keys=""), **content((N, 1), keys="w", record="fitres.parameters")}),
    ],
)
def test_other_names_and_types_hide_no_growth(wrong: RecordDict) -> None:
    assert refused(asked(content((N,), keys="w")), wrong).keys() == {"0"}


def test_empty_legacy_array_moves_no_number() -> None:
    wrong = content((N, 1), keys="v")
    wrong["arrays"] = ArrayRecord({"_empty": Array("", (), "numpy.ndarray", b""), **dict(wrong["arrays"])})
    assert refused(asked(content((N,), keys="w")), wrong).keys() == {"0"}


def test_exchanged_shapes_are_refused() -> None:
    growth = asked(content((N,), (N, 1), keys="wb"))
    assert refused(growth, content((N, 1), (N,), keys="bw")).keys() == {"0"}


@pytest.mark.parametrize("empty", [(0, 1, 1), (1, 0), (0,), (N, 0)])
def test_empty_array_hides_no_growth(empty: Shape) -> None:
    growth = asked(*[content(())] * 3)
    assert refused(growth, content(empty)) == {}
    assert refused(growth, content((N, 1)), content((1, N)), first=1).keys() == {"2"}


@pytest.mark.parametrize("together", [True, False])
def test_data_owners_cannot_share_a_growth(together: bool) -> None:
    growth = asked(*[content(())] * 4)
    replies = [content((N, 1)), content((1, N)), content(()), content((N, 1))]
    found: dict[str, str] = {}
    if together:
        found = refused(growth, *replies)
    else:
        for number, reply in enumerate(replies):
            found |= refused(growth, reply, first=number)
    assert found.keys() == {"1"}


def test_three_small_growths_count_together() -> None:
    side = 300
    growth = asked(*[content((1,))] * 3)
    found = refused(growth, content((side,)), content((side, 1)), content((side, 1, 1)))
    # Two of them have 90,000 items, and all three 27 million.
    assert found.keys() == {"2"}


@pytest.mark.parametrize("together", [True, False])
def test_small_growth_hides_no_earlier_one_of_its_array(together: bool) -> None:
    # Each large growth has 69 MiB.
    long, high, low = (3000,), (3000, 1), (2, 1)
    growth = asked(*[content(long, long)] * 4)
    replies = [content(high, long), content(low, high), content(long, long)]
    found = refused(growth, *replies) if together else {}
    for number, reply in enumerate(() if together else replies):
        found |= refused(growth, reply, first=number)
    assert found.keys() == {"1"}


def test_growths_of_many_arrays_count_together() -> None:
    side = 1024
    # 8 MiB each.
    assert refused(asked(content(*[(side,)] * 16)), content(*[(side, 1)] * 16)) == {}
    assert refused(asked(content(*[(side,)] * 17)), content(*[(side, 1)] * 17)).keys() == {"0"}
    growth = asked(*[content(*[(side,)] * 20)] * 2)
    first: list[Shape] = [*[(side, 1)] * 10, *[(side,)] * 10]
    second: list[Shape] = [*[(side,)] * 10, *[(side, 1)] * 10]
    assert refused(growth, content(*first)) == {}
    assert refused(growth, content(*second), first=1).keys() == {"1"}


def test_growth_to_four_times_the_content_is_allowed() -> None:
    rows, columns = 4096, 2048
    model = content((rows, columns), (rows,))
    growth = asked(model)
    # 128 MiB, beside 32 MiB of the model.
    assert refused(growth, content((rows, columns), (rows, 1))) == {}
    growth = asked(content((rows, columns), (8192,)))
    assert refused(growth, content((rows, columns), (8192, 1))).keys() == {"0"}


@pytest.mark.parametrize(
    ("request_shapes", "reply_shapes"),
    [
        # Statistics, a head of another size, a sum, a covariance.
        ([(N, 10)], [(10,)]),
        ([(N, 10)], [(N,)]),
        ([(512, 100)], [(512, 10)]),
        ([(N,)], [()]),
        ([(N,)], [(N, 9)]),
        ([()], [(N,)]),
        ([(0,)], [(N,)]),
        ([], [(N,), (N, 1)]),
        # Trees have other lengths at each data owner.
        ([(0,)], [(50_000,)]),
    ],
)
def test_other_shape_on_purpose_is_allowed(request_shapes: list[Shape], reply_shapes: list[Shape]) -> None:
    growth = asked(*[content(*request_shapes)] * 3)
    others = [(max(1, shape[0] - 7), *shape[1:]) if shape else () for shape in reply_shapes]
    assert refused(growth, content(*reply_shapes)) == {}
    assert refused(growth, content(*others), content(*reply_shapes), first=1) == {}


def test_growing_shape_of_most_data_owners_is_allowed() -> None:
    growth = asked(*[content((N,))] * 4)
    replies = [content((N,)), *[content((N, 1))] * 3]
    assert refused(growth, *replies).keys() == {"0"}


@pytest.mark.parametrize("is_legacy", [False, True])
def test_one_data_owner_refuses_no_replies_of_various_lengths(is_legacy: bool) -> None:
    """Trees of XGBoost have another length at each data owner, and the first request has none."""
    growth = asked(*[content((0,))] * 4)
    growth.settles = is_legacy
    trees = [content((length,), record="fitres.parameters", kind=np.uint8) for length in (50_000, 60_000, 70_000)]
    replies = [content((80_000, 1), record="fitres.parameters", kind=np.uint8), *trees]
    if is_legacy:
        assert [refused(growth, reply, first=number) for number, reply in enumerate(replies)] == [{}] * 4
        assert growth.settle("1").keys() == {0}
    else:
        assert refused(growth, *replies).keys() == {"0"}


def test_half_of_the_data_owners_are_not_most() -> None:
    growth = asked(*[content((N,))] * 4)
    assert refused(growth, content((N, 1)), content((N, 1))).keys() == {"0", "1"}
    assert refused(growth, content((N,)), content((N,)), first=2) == {}


def test_many_requests_to_one_data_owner_are_no_most() -> None:
    growth = ReplyGrowth()
    growth.note_requests((str(number), message(content((N,)), node=0)) for number in range(3))
    assert refused(growth, *[content((N, 1))] * 3).keys() == {"0", "1", "2"}


def shaped(shape: Shape) -> RecordDict:
    """Return a content with one array that has the header of a shape, and no bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return RecordDict({"arrays": ArrayRecord({"w": Array("", (), "numpy.ndarray", header.getvalue())})})


@pytest.mark.parametrize("seed", range(100))
def test_no_sum_of_accepted_replies_is_over_the_limit(seed: int) -> None:
    choose = random.Random(seed)
    shapes = [tuple(choose.choice((0, 1, 1, 500, 700)) for _ in range(choose.randint(0, 4))) for _ in range(6)]
    growth = asked(*[shaped(shapes[0])] * 6)
    found = [bool(refused(growth, shaped(shape), first=number)) for number, shape in enumerate(shapes[1:])]
    accepted = [shapes[0], *(shape for shape, is_refused in zip(shapes[1:], found, strict=True) if not is_refused)]
    for count in range(2, len(accepted) + 1):
        for some in itertools.combinations(accepted, count):
            with contextlib.suppress(ValueError):
                items = math.prod(np.broadcast_shapes(*some))
                assert items * 8 <= 128 << 20 or items <= max(map(math.prod, some)), some


def test_fitting_reply_is_never_refused() -> None:
    model = content((N,), (N, 1), (4, N))
    growth = asked(*[model] * 40)
    rng = np.random.default_rng(3)
    hostile = [tuple(int(side) for side in rng.choice((0, 1, 2, 3, 4, N), size=rng.integers(0, 5))) for _ in range(39)]
    for number, shape in enumerate(shape if np.prod(shape) < 1e6 else (7,) for shape in hostile):
        refused(growth, content(shape, shape, shape), first=number)
    assert refused(growth, model, first=39) == {}


def test_many_shapes_in_one_place_hide_no_growth() -> None:
    lengths = range(100, 140)
    growth = asked(*[content()] * 50)
    assert refused(growth, *[content((length,), keys="x") for length in lengths]) == {}
    assert refused(growth, content((2_000_000, 1), keys="x"), first=40).keys() == {"40"}


def test_later_round_is_compared_with_its_own_request() -> None:
    growth = asked(content((N,)))
    assert refused(growth, content((N,))) == {}
    ask(growth, content((N, 1)), group="2")
    assert refused(growth, content((N, 1))) == {}
    # Without a group, too.
    ask(growth, content((N,)), group="")
    assert refused(growth, content((N,))) == {}
    ask(growth, content((N, 1)), group="")
    assert refused(growth, content((N, 1))) == {}
    assert refused(growth, content((N,))) == {}


def test_opaque_and_missing_content_is_ignored() -> None:
    growth = asked(content((N,), keys="w"))
    opaque = RecordDict({"arrays": ArrayRecord({"w": Array("float32", (N, 1), "own", b"x" * 99)})})
    assert refused(growth, opaque) == {}
    assert growth.refuse([("0", None), ("unknown", message(content((N, 1))))]) == {}


def test_arrival_does_not_decide_between_legacy_replies() -> None:
    growth = asked(*[content()] * 3)
    growth.settles = True
    results = [content(shape, record="fitres.parameters") for shape in ((N, 1), (N,), (N,))]
    for number, result in enumerate(results):
        assert refused(growth, result, first=number) == {}
    assert growth.settle("1").keys() == {0}
    assert growth.settle("2") == {}


def test_request_decides_about_a_legacy_reply_at_once() -> None:
    growth = asked(*[content((N,))] * 3)
    growth.settles = True
    assert refused(growth, content((N, 1), record="fitres.parameters")).keys() == {"0"}
    assert refused(growth, content((N,), record="fitres.parameters"), first=1) == {}
    assert growth.settle("1") == {}


def test_comparison_of_many_shapes_has_a_budget() -> None:
    choose = random.Random(5)

    def hostile() -> RecordDict:
        shapes = [tuple(choose.choices((1, 2), (15, 1), k=63)) for _ in range(3_000)]
        return RecordDict({f"r{number}": shaped(shape)["arrays"] for number, shape in enumerate(shapes)})

    growth = asked(*[shaped((2,))] * 3)
    assert refused(growth, hostile()) == {}
    found = refused(growth, hostile(), first=1)
    assert found == {"1": "the arrays have too many shapes that differ from those of the other messages"}
    assert refused(growth, shaped((2,)), first=2) == {}
