"""The metrics in a reply: numbers by name, natural names for legacy results, and bounds for every content."""

import json
import math
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import Code, EvaluateRes, FitRes, Parameters, Status
from flwr.compat.common.recorddict_compat import evaluateres_to_recorddict, fitres_to_recorddict

from syft_flwr.fl_orchestrator.reply_metrics import bounded, metrics_of
from syft_flwr.flower import set_task_identity

_OK = Status(Code.OK, "")


@pytest.fixture(autouse=True)
def identity() -> None:
    set_task_identity(7, 1)


def found_in(records: dict[str, Any] | RecordDict) -> dict[str, Any]:
    content = records if isinstance(records, RecordDict) else RecordDict(records)
    return dict(metrics_of(Message(content, 5, "train")))


def test_names_of_one_metric_record_are_its_keys() -> None:
    metrics = MetricRecord({"loss": 0.5, "num-examples": 3, "per-class": [0.1, 1.5]})
    records = {"arrays": ArrayRecord(), "config": ConfigRecord({"lr": 0.1}), "metrics": metrics}
    assert found_in(records) == {"loss": 0.5, "num-examples": 3, "per-class": [0.1, 1.5]}


def test_names_of_several_metric_records_have_the_record() -> None:
    records = {"train": MetricRecord({"loss": 1.0}), "test": MetricRecord({"loss": 2.0}), "empty": MetricRecord()}
    assert found_in(records) == {"train/loss": 1.0, "test/loss": 2.0}


def test_legacy_results_have_natural_names() -> None:
    fit = FitRes(_OK, Parameters([], ""), 7, {"loss": 0.5, "note": "text", "raw": b"x", "good": True})
    assert found_in(fitres_to_recorddict(fit, keep_input=False)) == {"num-examples": 7, "loss": 0.5, "good": 1}
    evaluated = EvaluateRes(_OK, 0.25, 9, {"loss": 4.0, "auc": 0.75})
    assert found_in(evaluateres_to_recorddict(evaluated)) == {
        "loss": 0.25,
        "num-examples": 9,
        "metrics/loss": 4.0,
        "auc": 0.75,
    }


def test_numbers_that_json_lacks_are_texts() -> None:
    values = MetricRecord({"a": math.nan, "b": math.inf, "c": [-math.inf, 1.0]})
    found = found_in({"metrics": values})
    assert found == {"a": "nan", "b": "inf", "c": ["-inf", 1.0]}
    assert bounded(found) == found


def test_reply_without_metrics_has_none() -> None:
    assert found_in({}) == {}
    assert found_in({"arrays": ArrayRecord(), "metrics": ConfigRecord({"loss": 1.0})}) == {}


def test_many_metrics_are_bounded() -> None:
    found = found_in({"metrics": MetricRecord({f"m{number}": number for number in range(10_000)})})
    assert found == {f"m{number}": number for number in range(100)}
    many = found_in({f"record {number}": MetricRecord({"m": number}) for number in range(10_000)})
    assert list(many) == [f"record {number}/m" for number in range(100)]


def test_long_names_and_long_lists_are_left_out() -> None:
    values = {"x" * 10_000: 1, "x" * 101: 1, "y" * 100: 2, "long": [0.0] * 101, "short": [0.0] * 100}
    assert found_in({"metrics": MetricRecord(values)}) == {"y" * 100: 2, "short": [0.0] * 100}
    assert found_in({"r" * 10_000: MetricRecord({"a": 1}), "b": MetricRecord({"c": 2})}) == {"b/c": 2}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\u202ecod.exe", r"\u202ecod.exe"),
        ("a\nb", "a b"),
        ("\x1b[31mloss", r"\x1b[31mloss"),
        ("\u202e" * 17, ""),
        ("", ""),
        ("</script>", "</script>"),
    ],
)
def test_hostile_names_become_one_visible_line(name: str, shown: str) -> None:
    assert found_in({"metrics": MetricRecord({name: 1})}) == ({shown: 1} if shown else {})


def test_names_that_look_alike_do_not_replace_each_other() -> None:
    assert found_in({"metrics": MetricRecord({"a\nb": 1, "a\tb": 2})}) == {"a b": 1}


def test_metrics_of_any_reply_fit_into_a_line() -> None:
    astral = MetricRecord({chr(0x1F600 + number) * 100: [1 / 3] * 100 for number in range(1_000)})
    found = found_in({"metrics": astral})
    assert found
    assert len(json.dumps(found)) < 17_000


@pytest.mark.parametrize("value", ["text", None, {"a": 1}, [[1]], ["x"], 1 << 65, [None], [1] * 101, b"x"])
def test_other_values_of_a_worker_are_left_out(value: Any) -> None:
    assert bounded({"bad": value, "good": 1}) == {"good": 1}
