"""The run configuration of a project: replaced values, and the same configuration at each start of a run."""

import math
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syft_flwr.config.run_config import RunConfig, read_run_config, shown_value, with_overrides
from syft_flwr.config.user_config import parse_private_config
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.project import FlowerProject

_PROJECT = """
[tool.flwr.app.components]
serverapp = "a:b"
clientapp = "a:c"
"""


def project(folder: Path, config: str) -> Path:
    (folder / "pyproject.toml").write_text(f"{_PROJECT}\n{config}")
    return folder


def test_nested_tables_of_the_project_get_keys_with_dots(tmp_path: Path) -> None:
    folder = project(tmp_path, '[tool.flwr.app.config]\nlr = inf\nmodel = { name = "small", layers.n = 2 }')

    expected = {"lr": math.inf, "model.name": "small", "model.layers.n": 2}
    assert FlowerProject.load(folder).run_config == read_run_config(folder) == expected


def test_project_without_a_configuration_has_an_empty_one(tmp_path: Path) -> None:
    assert FlowerProject.load(project(tmp_path, "")).run_config == {}


@pytest.mark.parametrize("value", ["[1, 2]", "1979-05-27", "9223372036854775808", "[{ a = 1 }]"])
def test_value_that_flower_refuses_is_an_error_with_its_key(value: str, tmp_path: Path) -> None:
    folder = project(tmp_path, f"[tool.flwr.app.config]\nmodel.sizes = {value}")

    with pytest.raises(ConfigError, match=r"\[tool\.flwr\.app\.config\]: 'model\.sizes' is a"):
        FlowerProject.load(folder)


def test_configuration_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a list is not a configuration"):
        FlowerProject.load(project(tmp_path, "[tool.flwr.app]\nconfig = [1]"))


def test_replaced_value_may_have_another_type() -> None:
    config = {"lr": 0.1, "rounds": 3}

    assert with_overrides(config, {"lr": "auto"}) == {"lr": "auto", "rounds": 3}
    assert config == {"lr": 0.1, "rounds": 3}


def test_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="has no key 'lrr', 'zz'") as caught:
        with_overrides({"lr": 0.1, "rounds": 3}, {"zz": 1, "lr": 1, "lrr": 2})

    assert "lr, rounds" in caught.value.hint


@pytest.mark.parametrize("raw", ["lr=0.5 name='a b'", ["lr=0.1", "lr=0.5 name='a b'"], {"lr": 0.5, "name": "a b"}])
def test_replacements_come_as_text_texts_or_mapping(raw: Any) -> None:
    assert parse_private_config(raw, "the test") == {"lr": 0.5, "name": "a b"}


class Level(IntEnum):
    HIGH = 3
    HUGE = 1 << 63


class Name(str, Enum):  # noqa: UP042 - str() of a StrEnum is its value
    SMALL = "small net"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.uint64(5), 5),
        (np.array(-3), -3),
        (Level.HIGH, 3),
        (Name.SMALL, "small net"),
        (-math.inf, -math.inf),
        (-(1 << 63), -(1 << 63)),
    ],
)
def test_scalar_of_another_type_becomes_a_plain_one(value: Any, plain: Any) -> None:
    config = parse_private_config({"outer": {"key": value}}, "the test")

    assert config == {"outer.key": plain}
    assert type(config["outer.key"]) is type(plain)


REFUSED = (
    *(b"x", bytearray(b"x"), (1, 2), {1}, 1j, Decimal("1.5"), date(2026, 1, 1), Path("x"), "\ud800", Level.HUGE),
    *(np.uint64(1 << 63), np.bytes_(b"x"), np.datetime64("2026-01-01"), np.complex64(1j), np.zeros(2), np.void(b"x")),
)


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_value_that_no_app_can_get_names_its_key(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^the test: 'outer\.key' is a"):
        parse_private_config({"outer": {"key": value}}, "the test")


@pytest.mark.parametrize("raw", ["lr 0.5", {"lr": None}, {"lr": [1]}, [1], 3])
def test_other_replacements_are_refused(raw: Any) -> None:
    with pytest.raises(ConfigError, match=r"^the test: "):
        parse_private_config(raw, "the test")


VALUES = {"lr": math.inf, "bad": math.nan, "n": -(1 << 63), "on": True, "one": 1, "text": "größe\n\"'"}


def test_recorded_configuration_is_read_back_equal() -> None:
    config = RunConfig(dict(VALUES), ("n", "lr"))

    again = RunConfig.decode(config.encode())

    assert (str(again.values), again.overridden) == (str(dict(sorted(VALUES.items()))), ("n", "lr"))
    again.require_same(dict(VALUES), 7)


@pytest.mark.parametrize(
    ("key", "value", "both"),
    [
        ("lr", 0.5, "lr = Infinity, and would continue with 0.5"),
        ("one", 1.0, "one = 1, and would continue with 1.0"),
        ("on", 1, "on = true, and would continue with 1"),
        ("more", "x", 'more = nothing, and would continue with "x"'),
        ("n", None, "n = -9223372036854775808, and would continue with nothing"),
    ],
)
def test_other_configuration_is_refused_with_both_values(key: str, value: Any, both: str) -> None:
    now = {**VALUES, key: value}
    if value is None:
        del now[key]

    with pytest.raises(ConfigError) as caught:
        RunConfig(dict(VALUES)).require_same(now, 7)

    assert str(caught.value) == f"run 7 was started with {both}"
    assert "--fresh" in caught.value.hint


def test_start_without_options_gets_the_earlier_ones() -> None:
    before = RunConfig({"lr": 0.5, "rounds": 3}, ("lr",))

    assert before.continued(RunConfig({"lr": 0.1, "rounds": 3})) == before
    # An edited project and other options are kept, so that they are refused.
    assert before.continued(RunConfig({"lr": 0.1, "rounds": 4})).values == {"lr": 0.5, "rounds": 4}
    other = RunConfig({"lr": 0.1, "rounds": 9}, ("rounds",))
    assert before.continued(other) == other


def test_shown_value_is_printable_and_short() -> None:
    values = {"long": "x" * 1_000, "odd": "a\x1b\u2028b"}

    assert len(shown_value(values, "long")) == 100
    assert shown_value(values, "odd").isprintable()
    assert shown_value(values, "none") == "nothing"
