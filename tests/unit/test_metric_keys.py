"""The key of a metric in a tracker: readable, allowed everywhere, and never shared by two metrics."""

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.tracking.metric_keys import item_key, metric_key, parameter_key

DO1 = "do1@hospital-a.org"
#: What MLflow takes on all systems, without the characters that TensorBoard replaces.
ALLOWED = re.compile(r"[A-Za-z0-9_./-]{1,250}")
#: Texts that look like other parts of a key, and hostile ones.
TRICKY = st.one_of(
    st.text(alphabet="ab/._-@01 é\n", max_size=12),
    st.sampled_from(
        ["loss", "loss/0", "loss/do1_hospital-a.org", "..", ".", "", "/", "a//b", "a/../b", "</script>", "x" * 300]
    ),
    st.text(max_size=20),
)
EMAILS = st.sampled_from(
    ["", DO1, "do1_hospital-a@b.org", "do1@hospital-a_b.org", "a_b@c.org", "a@b_c.org", "a+b@c.org", "a-b@c.org"]
    + [f"{'a' * 100}{n}@hospital.org" for n in range(2)]
)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("train", "loss"), "train/loss"),
        (("train", "loss", DO1), "train/loss/do1_hospital-a.org"),
        (("central", "model/top_5"), "central/model/top_5"),
        (("train.personal", "num-examples"), "train.personal/num-examples"),
    ],
)
def test_plain_names_stay_readable(arguments: tuple[str, ...], key: str) -> None:
    assert metric_key(*arguments) == key


def test_items_of_a_list_have_their_number_before_the_owner() -> None:
    assert item_key(metric_key("train", "loss"), 3) == "train/loss/3"
    assert item_key(metric_key("train", "loss", DO1), 3, DO1) == "train/loss/3/do1_hospital-a.org"


@given(TRICKY, TRICKY, EMAILS, TRICKY, TRICKY, EMAILS)
def test_two_metrics_never_share_a_key(a: str, b: str, owner: str, c: str, d: str, other: str) -> None:
    first, second = metric_key(a, b, owner), metric_key(c, d, other)
    assert (first == second) == ((a, b, owner) == (c, d, other))
    assert item_key(first, 0, owner) != second
    for key in (first, second):
        assert ALLOWED.fullmatch(key)
        assert posixpath.normpath(key) == key
        assert not key.startswith(("/", ".."))


@pytest.mark.parametrize("name", ["lr", "num-server-rounds", "model.name", "setting.min_replies"])
def test_keys_of_a_configuration_stay_readable(name: str) -> None:
    assert parameter_key(name) == name


@given(TRICKY, TRICKY)
def test_two_values_of_a_configuration_never_share_a_key(a: str, b: str) -> None:
    assert (parameter_key(a) == parameter_key(b)) == (a == b)
    assert ALLOWED.fullmatch(parameter_key(a))
    assert not parameter_key(a).startswith(".")
