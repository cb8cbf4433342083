"""The only module that imports Flower names from outside Flower's public packages.

Flower moved half of its modules between 1.25 and 1.41. If it moves one of these names, only this file changes.
``tests/contract`` checks each name with the oldest supported release and with the newest one.
"""

from types import FrameType

from flwr.app import Message, Metadata
from flwr.app.message import make_message
from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import (
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.object_ref import load_app
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "SUPERLINK_NODE_ID",
    "SYSTEM_MESSAGE_TYPE",
    "ErrorCode",
    "EvaluateIns",
    "EvaluateRes",
    "FitIns",
    "FitRes",
    "Parameters",
    "ProtoMessage",
    "ProtoRecordDict",
    "Run",
    "Scalar",
    "TaskIdentity",
    "awaited_nodes",
    "load_app",
    "make_message",
    "message_from_proto",
    "message_to_proto",
    "recorddict_from_proto",
    "recorddict_to_proto",
    "set_message_id",
    "set_metadata",
    "set_origin",
    "set_task_identity",
]


def set_task_identity(run_id: int, node_id: int) -> None:
    """Set the run and node of this process, which ``flwr.app.Message()`` reads. A process has one task, as in Flower."""
    TaskIdentity.task_id = 0
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def set_metadata(message: Message, metadata: Metadata) -> None:
    """Replace the metadata of ``message``; Flower's public attribute is read-only."""
    message.__dict__["_metadata"] = metadata


def set_message_id(message: Message, message_id: str) -> None:
    """Set the id of ``message``, as Flower's own grids do when they send it."""
    message.metadata.__dict__["_message_id"] = message_id


def set_origin(message: Message, run_id: int, node_id: int) -> None:
    """Set the run of ``message`` and the node that sends it."""
    message.metadata.__dict__.update(_run_id=run_id, _src_node_id=node_id)


def awaited_nodes(frame: FrameType | None) -> int:
    """Return the minimum for which ``sample_nodes`` waits in this call of it; 0 if ``frame`` is not inside of one."""
    # Here, because a worker does not need the strategies.
    from flwr.serverapp.strategy.strategy_utils import sample_nodes

    # Some calls may be between it and the grid, because an app can wrap the grid.
    for _ in range(8):
        if frame is None:
            return 0
        if frame.f_code is sample_nodes.__code__:
            known = frame.f_locals
            return max(int(known.get("min_available_nodes", 0)), int(known.get("sample_size", 0)))
        frame = frame.f_back
    return 0
