"""Replies that a strategy cannot aggregate are compared with the request, or with the replies of most data owners."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict

from syft_flwr.fl_orchestrator.reply_forms import ReplyForms
from syft_flwr.flower import make_message

Arrays = dict[str, Any]


def content(arrays: Arrays, record: str = "arrays", **metrics: float) -> RecordDict:
    values = {key: Array("", (), "numpy.ndarray", Array(np.asarray(array)).data) for key, array in arrays.items()}
    return RecordDict({record: ArrayRecord(values), "metrics": MetricRecord(metrics)})


def message(records: RecordDict, group: str = "1", kind: str = "train") -> Message:
    metadata = Metadata(1, "", 0, 1, "", group, 0.0, 60.0, kind)
    return make_message(metadata=metadata, content=records)


def asked(*replies: RecordDict, request: Arrays | None = None) -> ReplyForms:
    """Return the forms after a request and the replies of the data owners a, b, c and so on."""
    forms = ReplyForms()
    forms.note_request(message(content(request or {"w": np.zeros((2, 3))})))
    for owner, reply in zip("abcdefgh", replies, strict=False):
        forms.note_reply(owner, message(reply))
    return forms


def explain(forms: ReplyForms) -> str:
    def aggregate_train() -> None:
        raise ValueError("no sum")

    with pytest.raises(ValueError, match="no sum") as caught:
        aggregate_train()
    return forms.explain(caught.value).removeprefix("the replies do not fit together: ")


def model(*shape: int, record: str = "arrays", kind: Any = np.float64) -> RecordDict:
    return content({"w": np.zeros(shape, kind)}, record)


def test_reply_unlike_the_request_is_named() -> None:
    forms = asked(model(9, record="update"), model(2, 3), model(9))
    text = "key 'w' is float64 of shape (9,) instead of float64 of shape (2, 3)"
    assert explain(forms) == f"a: record 'update', {text}; c: record 'arrays', {text}"


def test_reply_unlike_most_replies_is_named() -> None:
    forms = asked(model(4), model(5), model(4))
    assert explain(forms) == "b: record 'arrays', key 'w' is float64 of shape (5,) instead of float64 of shape (4,)"


def test_all_replies_are_named_without_a_usual_one() -> None:
    found = explain(asked(model(4), model(5)))
    assert "a: record 'arrays', key 'w' is float64 of shape (4,) instead of float64 of shape (5,)" in found
    assert "b: record 'arrays', key 'w' is float64 of shape (5,) instead of float64 of shape (4,)" in found


def test_shape_counts_more_than_the_type() -> None:
    # The data owners train with other numbers than the request has.
    single = {"kind": np.float32}
    forms = asked(model(2, 3, **single), model(2, 3, **single), model(4, **single))
    assert explain(forms).startswith("c: ")
    assert explain(asked(model(2, 3, **single), model(2, 3), model(2, 3))).startswith(
        "a: record 'arrays', key 'w' is f"
    )


def test_text_has_few_data_owners_and_no_control_characters() -> None:
    odd = [content({f"\x1b[31m{'k' * 500}": np.zeros(number)}) for number in range(6)]
    found = explain(asked(*odd, model(2, 3)))
    assert found.endswith("; and 3 more")
    assert found.isprintable()
    assert len(found) < 1_000


@pytest.mark.parametrize(
    ("records", "text"),
    [
        (RecordDict({"metrics": MetricRecord()}), "a: 0 array records instead of 1"),
        (RecordDict({**content({"w": np.zeros((2, 3))}), "more": ArrayRecord()}), "a: 2 array records instead of 1"),
        (content({"w": np.zeros((2, 3)), "v": 0}), "a: record 'arrays', key 'v' is in no other reply"),
        (content({}), "a: record 'arrays', key 'w' is missing"),
        (
            RecordDict({"arrays": ArrayRecord({"w": Array("", (), "own", b"x")}), "metrics": MetricRecord()}),
            "a: record 'arrays', key 'w' is opaque bytes instead of float64 of shape (2, 3)",
        ),
    ],
)
def test_other_records_are_told(records: RecordDict, text: str) -> None:
    assert explain(asked(records, model(2, 3))) == text


def test_only_errors_of_an_aggregation_are_explained() -> None:
    forms = asked(model(4), model(2, 3))
    assert forms.explain(ValueError("elsewhere")) == ""
    assert forms.explain(None) == ""
    assert explain(asked(model(2, 3), model(2, 3))) == ""


def test_only_the_latest_round_is_kept() -> None:
    forms = asked(model(4), model(2, 3))
    assert forms.note_request(message(content({"w": np.zeros((2, 3))}), group="2")) == []
    forms.note_reply("a", message(model(4), group="1"))
    assert explain(forms) == ""


def test_replies_of_growing_lengths_are_no_stretch() -> None:
    # XGBoost sends its trees as bytes in an array, and each data owner has other ones.
    forms = asked(model(50), model(60), request={"w": np.zeros(0)})
    assert forms.note_request(message(model(110), group="2")) == []


def test_sums_of_all_data_owners_are_no_stretch() -> None:
    forms = asked(model(), model())
    assert forms.note_request(message(model(2, 3), group="2")) == []


def test_first_stretch_explains_a_later_error() -> None:
    forms = asked(model(4, 2, 3), model(2, 3))
    ((stretched, effect),) = forms.note_request(message(model(4, 2, 3), group="2"))
    assert "stretches" in effect
    assert stretched.startswith("a: record 'arrays', key 'w' is float64 of shape (4, 2, 3)")
    # Now the right reply is the odd one.
    forms.note_reply("a", message(model(4, 2, 3), group="2"))
    forms.note_reply("b", message(model(2, 3), group="2"))
    assert explain(forms) == stretched
    assert forms.note_request(message(model(4, 2, 3), group="3")) == []


@pytest.mark.parametrize("kind", [np.float64, np.complex128, np.int64])
def test_type_that_the_model_takes_over_is_named(kind: Any) -> None:
    forms = asked(model(2, 3, kind=kind), model(2, 3, kind=np.float32), request={"w": np.zeros((2, 3), np.float32)})
    ((retyped, effect),) = forms.note_request(message(model(2, 3, kind=kind), group="2"))
    name = np.dtype(kind).name
    assert retyped == f"a: record 'arrays', key 'w' is {name} of shape (2, 3) instead of float32 of shape (2, 3)"
    assert effect.startswith("the model has this type now")


@pytest.mark.parametrize(("second", "following"), [(np.float32, np.float32), (np.float64, np.float64)])
def test_type_without_effect_or_of_all_is_no_warning(second: Any, following: Any) -> None:
    request = {"w": np.zeros((2, 3), np.float32)}
    forms = asked(model(2, 3), model(2, 3, kind=second), request=request)
    assert forms.note_request(message(model(2, 3, kind=following), group="2")) == []
