"""The only module that imports Flower names from outside Flower's public packages.

Flower moved half of its modules between 1.25 and 1.41. If it moves one of these names, only this file changes.
``tests/contract`` checks each name with the oldest supported release and with the newest one.
"""

import copy
import logging
from collections.abc import Callable
from types import FrameType

from flwr.app import Context, Message, Metadata
from flwr.app.message import make_message
from flwr.client import Client
from flwr.client.message_handler.message_handler import handle_legacy_message_from_msgtype
from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.logger import console_handler
from flwr.common.serde import (
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.serverapp import ServerApp
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.object_ref import load_app
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from syft_flwr.logbook.book import book

__all__ = [
    "NOTHING",
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
    "log_through",
    "log_to_console",
    "make_message",
    "message_from_proto",
    "message_to_proto",
    "recorddict_from_proto",
    "recorddict_to_proto",
    "rejected_client",
    "set_message_id",
    "set_metadata",
    "set_origin",
    "set_task_identity",
    "with_checked_components",
]

#: The result of :func:`rejected_client` if there is none. None can be the result of a ``client_fn``.
NOTHING = object()


def set_task_identity(run_id: int, node_id: int) -> None:
    """Set the run and node of this process, which ``flwr.app.Message()`` reads. A process has one task, as in Flower."""
    TaskIdentity.task_id = 0
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def log_through(write: Callable[[str, str], object]) -> None:
    """Give each line of Flower's console handler to ``write``, as its level and message, in place of a stream. Never twice.

    The handler keeps its level, which FLWR_LOG_LEVEL and a program can set.
    """
    for known in [each for each in console_handler.filters if isinstance(each, _Diversion)]:
        console_handler.removeFilter(known)
    console_handler.addFilter(_Diversion(write))


def log_to_console() -> None:
    """Let Flower log through the log of this package, unless its lines go elsewhere already."""
    if not any(isinstance(each, _Diversion) for each in console_handler.filters):
        log_through(book.flower)


class _Diversion(logging.Filter):
    """Takes each record that a handler would write."""

    def __init__(self, write: Callable[[str, str], object]) -> None:
        super().__init__()
        self._write = write
        self._formatter = logging.Formatter("%(message)s")

    def filter(self, record: logging.LogRecord) -> bool:
        self._write(record.levelname, self._formatter.format(record).expandtabs(4))
        return False


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


def with_checked_components(app: ServerApp, check: Callable[[object], None]) -> ServerApp:
    """Return a copy of ``app`` that calls ``check`` with the result of its ``server_fn`` before Flower uses it."""
    server_fn = getattr(app, "_server_fn", None)
    if server_fn is None:
        return app

    def checked(context: Context) -> object:
        made = server_fn(context)
        check(made)
        return made

    copied = copy.copy(app)
    copied.__dict__["_server_fn"] = checked
    return copied


def rejected_client(error: BaseException) -> object:
    """Return the result of a ``client_fn`` that made Flower raise ``error``, because it is no client; else NOTHING."""
    trace = error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_code is handle_legacy_message_from_msgtype.__code__:
            client = frame.f_locals.get("client", NOTHING)
            return NOTHING if isinstance(client, Client) else client
    return NOTHING
