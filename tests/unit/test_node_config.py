"""The node configuration: its defaults, its sources, and its way into the worker."""

import math
from collections.abc import Iterator

import pytest
from loguru import logger

from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.app_runner import RunnerSetup
from syft_flwr.fl_orchestrator.node_config import node_config_of
from syft_flwr.fl_orchestrator.worker import SETUP, WorkerSetup
from syft_flwr.transport.base import Reopening

DO1, DO2, DO3 = (f"do{number}@hospital.example" for number in (1, 2, 3))
VALUES = {
    "inf": math.inf,
    "minus": -math.inf,
    "yes": True,
    "one": 1,
    "float": 1.0,
    "text": "NaN",
    "most": 2**63 - 1,
    "least": -(2**63),
    "number": "1",
    "zero": -0.0,
    "odd": '\0\ud7ff\U0001f600"',
}


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), level="WARNING")
    yield found
    logger.remove(sink)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_position_in_datasites_is_the_partition(position, warnings):
    listed = (DO1, DO2, DO3)
    assert node_config_of(listed[position], listed, {}, {}) == {"partition-id": position, "num-partitions": 3}
    assert warnings == []


def test_values_of_a_call_replace_the_defaults(warnings):
    config = node_config_of(DO2, (DO1, DO2), {"partition-id": 5, "db": "y", "a": 1}, {"partition-id": 7, "db": "x"})
    assert config == {"partition-id": 7, "num-partitions": 2, "db": "x", "a": 1}
    assert warnings == []


@pytest.mark.parametrize(("listed", "why"), [((), "is not set"), ((DO2,), "does not list")])
def test_without_a_position_no_default_and_one_warning(listed, why, warnings):
    assert node_config_of(DO1, listed, {"db": "x"}, {}) == {"db": "x"}
    [text] = warnings
    assert why in text
    assert "partition-id and no num-partitions" in text


def test_no_warning_where_the_call_gives_both_values(warnings):
    given = {"partition-id": 0, "num-partitions": 4}
    assert node_config_of(DO1, (), {}, given) == given
    assert warnings == []


@pytest.mark.parametrize("value", [None, [1], 2**63, b"x"])
def test_a_value_that_is_not_allowed_names_its_key(value):
    with pytest.raises(ConfigError, match="'key'"):
        node_config_of(DO1, (DO1,), {}, {"key": value})


def test_every_value_reaches_the_worker_as_it_is():
    runner = RunnerSetup(DO1, DO2, "app", True, "", {**VALUES, "nan": math.nan}, VALUES, False)
    setup = WorkerSetup(runner, Reopening("memory", {}), "reference", "a:b", "", [])
    arrived = SETUP.validate_json(SETUP.dump_json(setup)).runner
    assert math.isnan(arrived.node_config.pop("nan"))
    for config in (arrived.node_config, arrived.run_config):
        assert {key: repr(value) for key, value in config.items()} == {
            key: repr(value) for key, value in VALUES.items()
        }
