"""The labels of a message: short, printable, and bounded for every content."""

from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from syft_flwr.fl_orchestrator.labels import error_of, record_names, round_of
from syft_flwr.flower import set_task_identity


@pytest.fixture(autouse=True)
def identity() -> None:
    set_task_identity(7, 1)


def message(records: dict[str, Any]) -> Message:
    return Message(RecordDict(records), 5, "train")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (3, "3"),
        ("12", "12"),
        (1.5, "1.5"),
        ("a\x1b[31m\n", r"a\x1b[31m "),
        ("x" * 50, "x" * 20),
        ([1, 2], ""),
        (b"1", ""),
    ],
)
def test_round_is_a_short_printable_text(value: Any, found: str) -> None:
    assert round_of(message({"config": ConfigRecord({"server-round": value})})) == found


def test_round_is_found_in_any_config_record() -> None:
    records = {"m": MetricRecord({"server-round": 9}), "a": ConfigRecord({"lr": 0.1})}
    assert round_of(message(records)) == ""
    assert round_of(message(records | {"b": ConfigRecord({"server-round": 4})})) == "4"


def test_names_of_records_are_bounded_and_printable() -> None:
    assert record_names(message({"arrays": ArrayRecord(), "metrics": MetricRecord()})) == ("arrays", "metrics")
    assert record_names(message({"a\n\x07b": MetricRecord(), "x" * 200: MetricRecord()})) == (r"a \x07b", "x" * 100)
    names = record_names(message({f"record {number}": MetricRecord() for number in range(60)}))
    assert names == tuple(f"record {number}" for number in range(50))


@pytest.mark.parametrize("name", ["fitres", "evaluateres", "getparametersres", "getpropertiesres"])
def test_status_of_a_legacy_result_is_an_error(name: str) -> None:
    def status(code: Any, text: Any) -> Message:
        return message({f"{name}.status": ConfigRecord({"code": code, "message": text})})

    assert error_of(status(0, "Success")) == ""
    assert error_of(status(4, "Client does not implement `x`")) == "code 4: Client does not implement `x`"
    assert error_of(status(1, "")) == "code 1: no reason"
    assert error_of(status([1], "a\nb")) == "code [1]: a b"
    assert error_of(message({f"{name}.status": MetricRecord({"code": 4})})) == ""


def test_error_message_has_no_labels() -> None:
    error = Message(Error(2, "why"), reply_to=message({}))
    assert (round_of(error), record_names(error)) == ("", ())
