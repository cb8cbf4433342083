"""Everything of Flower outside its public packages and attributes, in one place.

Flower moved half of its modules between 1.25 and 1.41; when it moves one of these, this file changes and no other.
``tests/contract`` checks each name on the floor and on the newest release.
"""

from flwr.app import Message, Metadata
from flwr.app.message import make_message
from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar
from flwr.common.config import flatten_dict
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
    "flatten_dict",
    "load_app",
    "make_message",
    "message_from_proto",
    "message_to_proto",
    "recorddict_from_proto",
    "recorddict_to_proto",
    "set_message_id",
    "set_metadata",
    "set_task_identity",
]


def set_task_identity(run_id: int, node_id: int) -> None:
    """Say who this process is, which ``flwr.app.Message()`` asks. One task a process, as in Flower's own."""
    TaskIdentity.task_id = 0
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def set_metadata(message: Message, metadata: Metadata) -> None:
    """Replace the metadata of ``message``, which Flower gives out for reading only."""
    message.__dict__["_metadata"] = metadata


def set_message_id(message: Message, message_id: str) -> None:
    """Give ``message`` its id, as Flower's own grids do when they send it."""
    message.metadata.__dict__["_message_id"] = message_id
