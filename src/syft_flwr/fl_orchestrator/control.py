"""Control messages, of Flower's type SYSTEM: ``start`` and ``stop`` at the two ends of a run, and ``ping`` at any time.

``start`` tells a data owner which run is live. The client can then ignore a stop of another run, for example one that an
earlier run left.
"""

from enum import StrEnum

from flwr.app import ConfigRecord, Message, RecordDict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.codec import records_message_to_buffers
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.text import printable


class Action(StrEnum):
    START = "start"
    STOP = "stop"
    PING = "ping"


def control_message(action: Action, reason: str, *, dst_node_id: int, group_id: str) -> Message:
    """Return the message with content ``{"config": {"action": …, "reason": …}}``."""
    return Message(_records(action, reason), dst_node_id, SYSTEM_MESSAGE_TYPE, group_id=group_id)


def control_buffers(action: Action) -> list[bytes]:
    """Return the buffers of a control message without a run, node and reason."""
    return records_message_to_buffers(_records(action, ""))


def _records(action: Action, reason: str) -> RecordDict:
    return RecordDict({"config": ConfigRecord({"action": action.value, "reason": reason})})


def read_control(message: Message) -> tuple[Action, str]:
    """Return the action and the reason of a control message; MalformedError if the action is unknown."""
    record = message.content.config_records.get("config", ConfigRecord()) if message.has_content() else ConfigRecord()
    try:
        return Action(str(record.get("action", ""))), printable(str(record.get("reason", ""))[:200])
    except ValueError as error:
        raise MalformedError("a control message asks for an unknown action") from error
