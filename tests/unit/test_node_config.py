"""The node configuration: its defaults, its sources, and its way into the worker."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from typer.testing import CliRunner

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire import Header
from syft_flwr._store.peers import Peers
from syft_flwr.cli.app import app
from syft_flwr.clock import SystemClock
from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.app_runner import RunnerSetup
from syft_flwr.fl_orchestrator.node_config import node_config_of
from syft_flwr.fl_orchestrator.served_runs import participant_facts
from syft_flwr.fl_orchestrator.worker import SETUP, TASK, Task, WorkerSetup
from syft_flwr.transport.base import Reopening
from syft_flwr.transport.memory import MemoryNetwork

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


NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = Header(
    id="0" * 32,
    kind="request",
    run=7,
    app="app",
    sender=DO2,
    recipient=DO1,
    sender_key="0" * 32,
    recipient_key="0" * 32,
    type="train",
    group="",
    created=NOW,
    expires=NOW + timedelta(hours=1),
    encryption="none",
    body_size=1,
)
RUNNER = RunnerSetup(DO1, DO2, "app", True, "", {}, False)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), level="WARNING")
    yield found
    logger.remove(sink)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_position_in_datasites_is_the_partition(position: int, warnings: list[str]) -> None:
    listed = (DO1, DO2, DO3)
    assert node_config_of(listed[position], listed, {}, {}) == {"partition-id": position, "num-partitions": 3}
    assert warnings == []


def test_values_of_a_call_replace_the_defaults(warnings: list[str]) -> None:
    config = node_config_of(DO2, (DO1, DO2), {"partition-id": 5, "db": "y", "a": 1}, {"partition-id": 7, "db": "x"})
    assert config == {"partition-id": 7, "num-partitions": 2, "db": "x", "a": 1}
    assert warnings == []


@pytest.mark.parametrize(("listed", "why"), [((), "is not set"), ((DO2,), "does not list")])
def test_without_a_position_no_default_and_one_warning(listed: tuple[str, ...], why: str, warnings: list[str]) -> None:
    assert node_config_of(DO1, listed, {"db": "x"}, {}) == {"db": "x"}
    [text] = warnings
    assert why in text
    assert "partition-id and no num-partitions" in text


def test_no_warning_where_the_call_gives_both_values(warnings: list[str]) -> None:
    given = {"partition-id": 0, "num-partitions": 4}
    assert node_config_of(DO1, (), {}, given) == given
    assert warnings == []


@pytest.mark.parametrize("value", [None, [1], 2**63, b"x"])
def test_a_value_that_is_not_allowed_names_its_key(value: Any) -> None:
    with pytest.raises(ConfigError, match="'key'"):
        node_config_of(DO1, (DO1,), {}, {"key": value})


def test_every_value_reaches_the_worker_as_it_is() -> None:
    given = {**VALUES, "nan": math.nan}
    setup = WorkerSetup(RUNNER, Reopening("memory", {}), "reference", "a:b", "", [])
    setup = replace(setup, runner=replace(RUNNER, node_config=given))
    task = Task(HEADER, "", given)

    arrived = SETUP.validate_json(SETUP.dump_json(setup)).runner.node_config
    assert repr(arrived) == repr(given)
    assert repr(TASK.validate_json(TASK.dump_json(task)).run_config) == repr(given)


@pytest.mark.parametrize("hidden", [{"db": "pass:word"}, 'db="pass:word"', ["a=1", "db='pass:word'"]])
def test_no_printed_form_of_settings_has_a_secret(hidden: Any, tmp_path: Path) -> None:
    loaded = load_settings(environ={}, email=DO1, home=tmp_path, node_config=hidden)
    assert loaded.node_config["db"] == "pass:word"
    with (
        closing(MemoryNetwork().transport(DO1)) as transport,
        closing(Trust(transport, DO1, Identity.generate(), Peers(tmp_path / "peers.db"), SystemClock())) as trust,
    ):
        facts = participant_facts("app", DO2, trust, loaded)
    for text in (repr(loaded), str(loaded.report()), f"{loaded.node_config}", json.dumps(facts)):
        assert "pass:word" not in text
        assert "db" in text
    assert facts["settings"]["node_config"] == ", ".join(loaded.node_config)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "db={}",
        "db='{}",
        "db='x' {}",
        "db='x' {} y=1",
        "{}=1",
        "db = '{}'",
        "db=['{}']",
        "db='{}' conf=x.toml",
        "x={'n':'{}'}",
    ],
)
def test_an_error_shows_no_secret(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings(environ={"SYFT_FLWR_NODE_CONFIG": text.replace("{}", "user:pass@host")})
    assert "pass" not in raised.value.diagnose()
    assert "node_config (environment SYFT_FLWR_NODE_CONFIG)" in raised.value.diagnose()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a = 1", "at or after 'a'"),
        ("b=2 a = 1", "at or after 'b'"),
        ("a=[1]", "'a'"),
        ("a.b=9223372036854775808", "'a.b'"),
        ("a=yes", "'a'"),
        ("a=1#2", "'a'"),
        ("a=2020-01-01", "'a'"),
        ("a=1 b='", "'b'"),
        ("a=1 'x'y=2", "its beginning"),
    ],
)
def test_a_text_that_is_not_understood_names_the_key(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        load_settings(environ={"SYFT_FLWR_NODE_CONFIG": text})


def test_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "node.toml"
    broken.write_text("db = 'pass:word\n")
    for path in (broken, tmp_path / "other.toml", Path("~no-such-user-here/x.toml")):
        with pytest.raises(ConfigError, match=path.name) as raised:
            load_settings(environ={}, node_config=str(path))
        assert "pass:word" not in raised.value.diagnose()


def test_the_project_cannot_set_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.syft_flwr]\nnode_config = 'a=1'\n")
    with pytest.raises(ConfigError, match="unknown key"):
        load_settings(tmp_path, environ={})


def test_config_show_lists_keys_and_masks_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYFT_FLWR_NODE_CONFIG", "db='pass:word' partition-id=3 on=true top=inf bad=nan")
    monkeypatch.setenv("COLUMNS", "300")
    table = CliRunner().invoke(app, ["config", "show"]).output
    printed = CliRunner().invoke(app, ["config", "show", "--format", "json"]).stdout
    assert "db=*** partition-id=3 on=true top=inf bad=nan" in table
    assert "pass:word" not in table + printed
    rows = json.loads(printed, parse_constant=pytest.fail)["settings"]
    [shown] = [row["value"] for row in rows if row["name"] == "node_config"]
    assert shown == {"db": "***", "partition-id": 3, "on": True, "top": "inf", "bad": "nan"}
