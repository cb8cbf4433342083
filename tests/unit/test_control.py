"""Control messages: the interval of the heartbeats follows msg_timeout, within the bounds of the transport."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from syft_flwr._messaging.pulse import interval_within
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import RunState
from syft_flwr.config import Settings, load_settings
from syft_flwr.errors import ConfigError, MalformedError
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.control import Action, control_message, heartbeat_interval, read_control
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.flower import SUPERLINK_NODE_ID, TaskIdentity, set_task_identity
from syft_flwr.testing import FakeClock
from syft_flwr.transport.base import Properties
from syft_flwr.transport.memory import MemoryNetwork

_FAST = Properties(1 << 40, 1 << 20, 3.0, pushes_events=True)
_DRIVE = replace(_FAST, update_interval=30.0)
_RARE = replace(_FAST, poll_interval=20.0)
_SLOW = replace(_FAST, update_interval=90.0)


@pytest.fixture
def _in_a_run() -> Iterator[None]:
    """Give this process a task, which each message needs."""
    set_task_identity(7, SUPERLINK_NODE_ID)
    yield
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, None)


def _patient(msg_timeout: float) -> Settings:
    return replace(load_settings(environ={"SYFT_FLWR_MSG_TIMEOUT": "120"}), msg_timeout=msg_timeout)


@pytest.mark.parametrize(
    ("properties", "msg_timeout", "interval"),
    [
        (_FAST, 20.0, 5.0),
        (_FAST, 40.0, 10.0),
        (_FAST, 120.0, 30.0),
        (_FAST, 3_600.0, 60.0),
        (_FAST, math.inf, 60.0),
        (_DRIVE, 120.0, 30.0),
        (_DRIVE, math.inf, 60.0),
        (_RARE, 80.0, 20.0),
        (_SLOW, 360.0, 90.0),
        (_SLOW, math.inf, 90.0),
    ],
)
def test_four_heartbeats_come_in_msg_timeout(properties: Properties, msg_timeout: float, interval: float) -> None:
    assert heartbeat_interval(_patient(msg_timeout), properties) == interval


@pytest.mark.parametrize(
    ("properties", "msg_timeout", "least"),
    [(_FAST, 19.9, "20"), (_FAST, 0.1, "20"), (_DRIVE, 119.0, "120"), (_RARE, 79.0, "80"), (_SLOW, 120.0, "360")],
)
def test_too_short_msg_timeout_is_refused(properties: Properties, msg_timeout: float, least: str) -> None:
    with pytest.raises(ConfigError) as caught:
        heartbeat_interval(_patient(msg_timeout), properties)
    first, second = caught.value.diagnose().splitlines()
    assert first.startswith(f"msg_timeout (environment SYFT_FLWR_MSG_TIMEOUT): within {msg_timeout:g} s, ")
    assert second == f"  Set it to at least {least} over this transport, or to none."


def test_aggregator_with_too_short_msg_timeout_leaves_nothing(tmp_path: Path) -> None:
    email = "ds@university.example"
    with closing(MemoryNetwork().transport(email)) as transport:
        settings = load_settings(environ={}, email=email, home=tmp_path, msg_timeout=19)
        with pytest.raises(ConfigError, match=r"^msg_timeout \(argument\): "):
            SyftGrid("short", ["do@hospital.example"], Participant(settings, transport, in_process=True))
        assert list(transport.list(f"{email}/")) == []


@pytest.mark.parametrize(
    ("properties", "wanted", "used"),
    [(_FAST, 0.001, 5.0), (_FAST, 7.0, 7.0), (_FAST, 1e300, 60.0), (_DRIVE, 5.0, 30.0), (_SLOW, 5.0, 90.0)],
)
def test_data_owner_keeps_the_bounds_of_its_transport(properties: Properties, wanted: float, used: float) -> None:
    assert interval_within(wanted, properties) == used


@pytest.mark.usefixtures("_in_a_run")
def test_interval_travels_with_the_start() -> None:
    start = control_message(Action.START, "Server started", dst_node_id=1, group_id="", interval=30)
    stop = control_message(Action.STOP, "Server stopped", dst_node_id=1, group_id="final")
    assert (read_control(start).action, read_control(start).interval) == (Action.START, 30.0)
    assert (read_control(stop).action, read_control(stop).interval) == (Action.STOP, None)


@pytest.mark.usefixtures("_in_a_run")
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, 30, "30", True, [30.0], b"30"])
def test_interval_of_another_form_is_refused(value: Any) -> None:
    content = RecordDict({"config": ConfigRecord({"action": "start", "reason": "", "heartbeat": value})})
    with pytest.raises(MalformedError, match="interval"):
        read_control(Message(content, 1, "system"))


def test_interval_is_kept_until_the_end_of_its_run(tmp_path: Path) -> None:
    now = FakeClock().now()
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.interval() is None
        ledger.set_interval(1, 5.0)
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert ledger.interval() == 5.0
        ledger.set_interval(2, 15.0)
        ledger.end_run(1, RunState.STOPPED, "another run took its place", now)
        assert ledger.interval() == 15.0
        ledger.end_run(2, RunState.COMPLETED, "", now)
        assert ledger.interval() is None
