"""Flower's internals that this package uses: they exist, and they behave as this package needs."""

import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, Metadata, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.config import flatten_dict, fuse_dicts
from flwr.serverapp import Grid, ServerApp

from syft_flwr import flower
from syft_flwr.config.run_config import with_overrides
from syft_flwr.config.user_config import checked_user_config
from syft_flwr.errors import ConfigError
from syft_flwr.flower import (
    SUPERLINK_NODE_ID,
    SYSTEM_MESSAGE_TYPE,
    ErrorCode,
    ProtoMessage,
    ProtoRecordDict,
    Run,
    TaskIdentity,
    awaited_nodes,
    load_app,
    make_message,
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
    set_message_id,
    set_metadata,
    set_task_identity,
)

RUN, NODE = (1 << 63) - 25, (1 << 63) - 59


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    """Reset the task identity of this process before and after each test."""
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, None)
    yield
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, None)


def make_metadata(**changes: object) -> Metadata:
    fields = {
        "run_id": RUN,
        "message_id": "0" * 32,
        "src_node_id": SUPERLINK_NODE_ID,
        "dst_node_id": NODE,
        "reply_to_message_id": "",
        "group_id": "1",
        "created_at": 1_893_456_000.5,
        "ttl": 60.0,
        "message_type": "train",
    }
    return Metadata(**{**fields, **changes})  # type: ignore[arg-type]


def make_content() -> RecordDict:
    return RecordDict(
        {
            "arrays": ArrayRecord({"weight": Array(np.arange(6, dtype=np.float32).reshape(2, 3))}),
            "metrics": MetricRecord({"loss": 0.5, "counts": [1, 2]}),
            "config": ConfigRecord({"lr": 0.1, "name": "x", "raw": b"\x00\xff"}),
        }
    )


def test_exports_are_complete() -> None:
    # Imported for annotations and for the functions of this module.
    own_use = {"Callable", "Client", "Context", "FrameType", "Message", "Metadata", "ServerApp", "copy"}
    own_use |= {"book", "logging"}
    offered = {name for name in vars(flower) if not name.startswith("_")} - own_use
    offered -= {"handle_legacy_message_from_msgtype", "console_handler"}

    assert len(set(flower.__all__)) == len(flower.__all__)
    assert offered == set(flower.__all__)


def test_installed_flower_is_1_40_or_later() -> None:
    assert tuple(int(part) for part in version("flwr").split(".")[:2]) >= (1, 40)


# Messages


def test_message_has_content_or_error() -> None:
    metadata, content = make_metadata(), make_content()

    message = make_message(metadata=metadata, content=content)
    failed = make_message(metadata=metadata, error=Error(ErrorCode.UNKNOWN, "why"))

    assert message.metadata == metadata
    assert message.content == content
    assert message.has_content()
    assert not message.has_error()
    assert failed.has_error()
    assert not failed.has_content()
    assert (failed.error.code, failed.error.reason) == (ErrorCode.UNKNOWN, "why")


@pytest.mark.parametrize("failed", [False, True])
def test_message_round_trips_with_63_bit_ids(failed: bool) -> None:
    metadata = make_metadata(reply_to_message_id="1" * 32)
    if failed:
        message = make_message(metadata=metadata, error=Error(7, "why"))
    else:
        message = make_message(metadata=metadata, content=make_content())

    again = message_from_proto(ProtoMessage.FromString(message_to_proto(message).SerializeToString()))

    for name in ("run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id", "ttl"):
        assert getattr(again.metadata, name) == getattr(metadata, name)
    assert again.metadata.message_type == "train"
    assert again.metadata.created_at == metadata.created_at
    assert again.has_error() is failed
    if not failed:
        assert again.content == message.content


def test_records_keep_their_order_in_protobuf() -> None:
    content = make_content()

    again = recorddict_from_proto(ProtoRecordDict.FromString(recorddict_to_proto(content).SerializeToString()))

    assert again == content
    assert list(again) == list(content)


def test_invalid_protobuf_is_refused() -> None:
    from google.protobuf.message import DecodeError

    for kind in (ProtoMessage, ProtoRecordDict):
        with pytest.raises(DecodeError):
            kind.FromString(b"\xff" * 20)


def test_array_data_is_set_without_a_copy() -> None:
    data = make_content().array_records["arrays"]["weight"].data

    hollow = Array("float32", (2, 3), "numpy.ndarray", b"")
    assert hollow.data == b""
    hollow.data = data

    assert hollow.data is data
    assert hollow.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_metadata_and_message_id_can_be_set() -> None:
    message = make_message(metadata=make_metadata(), content=make_content())
    other = make_metadata(message_id="", run_id=7)

    set_metadata(message, other)
    set_message_id(message, "f" * 32)

    assert message.metadata is other
    assert message.metadata.message_id == "f" * 32
    message.metadata.delivered_at = ""


def test_metadata_keeps_both_task_ids() -> None:
    metadata = make_metadata(src_task_id=3, dst_task_id=5)

    assert (metadata.src_task_id, metadata.dst_task_id) == (3, 5)


# Task identity


def test_message_takes_ids_from_the_task_identity() -> None:
    set_task_identity(RUN, SUPERLINK_NODE_ID)

    message = Message(make_content(), NODE, "train", ttl=60.0, group_id="1")

    assert message.metadata.run_id == RUN
    assert message.metadata.src_node_id == SUPERLINK_NODE_ID
    assert message.metadata.dst_node_id == NODE
    assert message.metadata.message_id == ""
    assert message.metadata.reply_to_message_id == ""


def test_reply_is_addressed_to_the_sender() -> None:
    set_task_identity(RUN, NODE)
    asked = make_message(metadata=make_metadata(), content=make_content())

    reply = Message(make_content(), reply_to=asked)

    assert reply.metadata.run_id == RUN
    assert reply.metadata.src_node_id == NODE
    assert reply.metadata.dst_node_id == SUPERLINK_NODE_ID
    assert reply.metadata.reply_to_message_id == "0" * 32
    assert reply.metadata.message_type == "train"


def test_message_needs_a_task_identity() -> None:
    with pytest.raises(RuntimeError, match="not set"):
        Message(make_content(), NODE, "train")


# Runs, node ids and codes


def test_run_can_be_created_and_copied() -> None:
    run = Run.create_empty(RUN)
    copy = replace(run)

    assert run.run_id == RUN
    assert copy == run
    assert copy is not run


def test_aggregator_is_node_one() -> None:
    assert SUPERLINK_NODE_ID == 1


def test_system_message_type_is_not_an_app_type() -> None:
    apps = {value for name, value in vars(MessageType).items() if not name.startswith("_")}

    assert SYSTEM_MESSAGE_TYPE == "system"
    assert SYSTEM_MESSAGE_TYPE not in apps


@pytest.mark.parametrize(
    "name",
    [
        "UNKNOWN",
        "LOAD_CLIENT_APP_EXCEPTION",
        "CLIENT_APP_RAISED_EXCEPTION",
        "CLIENT_APP_CRASHED",
        "REPLY_MESSAGE_UNAVAILABLE",
        "NODE_UNAVAILABLE",
        "MESSAGE_UNAVAILABLE",
    ],
)
def test_error_codes_are_unique_numbers(name: str) -> None:
    codes = [value for key, value in vars(ErrorCode).items() if key.isupper()]

    assert isinstance(getattr(ErrorCode, name), int)
    assert codes.count(getattr(ErrorCode, name)) == 1


def test_wait_for_nodes_is_known_from_its_frame() -> None:
    from flwr.serverapp.strategy.strategy_utils import sample_nodes

    class EnoughNodes:
        def get_node_ids(self) -> list[int]:
            found.append(awaited_nodes(inspect.currentframe()))
            return list(range(9))

    found: list[int] = []
    for minimum, size in ((2, 1), (1, 4)):
        sample_nodes(EnoughNodes(), minimum, size)  # type: ignore[arg-type]

    assert found == [2, 4]
    assert awaited_nodes(inspect.currentframe()) == awaited_nodes(None) == 0


# Projects


@pytest.mark.parametrize("config", [{"a": {"b": 1, "c": {"d": "x"}}, "e": True}, {}])
def test_run_config_is_flattened_as_in_flower(config: dict[str, Any]) -> None:
    assert checked_user_config(config, "the test") == flatten_dict(config)


@pytest.mark.parametrize("override", [{"lr": 0.5}, {"lr": "another type"}, {}, {"lrr": 0.5}])
def test_overrides_replace_values_as_in_flower(override: dict[str, Any]) -> None:
    config: dict[str, Any] = {"lr": 0.1, "model.name": "small"}
    try:
        expected = fuse_dicts(config, override)
    except ValueError:
        with pytest.raises(ConfigError, match="'lrr'"):
            with_overrides(config, override)
        return
    assert with_overrides(config, override) == expected


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a Flower project that was not imported before."""
    package = tmp_path / "shim_project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "apps.py").write_text(
        textwrap.dedent("""\
        from flwr.clientapp import ClientApp
        from flwr.serverapp import ServerApp

        client = ClientApp()
        server = ServerApp()
        """)
    )
    (package / "broken.py").write_text("raise RuntimeError('broken')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shim_project"]:
        del sys.modules[name]


def test_app_is_loaded_by_its_reference(project: Path) -> None:
    assert isinstance(load_app("shim_project.apps:client", ConfigError, project), ClientApp)
    assert isinstance(load_app("shim_project.apps:server", ConfigError, str(project)), ServerApp)


@pytest.mark.parametrize("reference", ["shim_project.apps:nothing", "shim_project.apps", "", ":", "shim_project.apps:"])
def test_invalid_reference_raises_the_given_error(project: Path, reference: str) -> None:
    with pytest.raises(ConfigError):
        load_app(reference, ConfigError, project)


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("shim_project.nothing:client", ModuleNotFoundError),
        ("nothing.at:all", ModuleNotFoundError),
        ("shim_project.broken:client", RuntimeError),
    ],
)
def test_import_errors_are_not_translated(project: Path, reference: str, error: type[Exception]) -> None:
    # The caller must translate these errors for the user.
    with pytest.raises(error):
        load_app(reference, ConfigError, project)


def test_grid_has_the_expected_methods() -> None:
    assert Grid.__abstractmethods__ == {
        "set_run",
        "run",
        "create_message",
        "get_node_ids",
        "push_messages",
        "pull_messages",
        "send_and_receive",
    }
