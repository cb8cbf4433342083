"""Control messages, of Flower's type SYSTEM: ``start`` and ``stop`` at the two ends of a run, and ``ping`` at any time.

``start`` tells a data owner which run is live. The client can then ignore a stop of another run, for example one that an
earlier run left. It also tells how often the aggregator wants a heartbeat: four times in ``msg_timeout``.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from flwr.app import ConfigRecord, Message, RecordDict

from syft_flwr._messaging.pulse import HEARTBEATS_IN_TIMEOUT, interval_within, least_interval
from syft_flwr.config import Settings
from syft_flwr.errors import ConfigError, MalformedError
from syft_flwr.fl_orchestrator.codec import records_message_to_buffers
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.text import printable
from syft_flwr.transport.base import Properties

#: The key of their interval in a start, in seconds.
_INTERVAL = "heartbeat"


class Action(StrEnum):
    START = "start"
    STOP = "stop"
    PING = "ping"


def heartbeat_interval(settings: Settings, properties: Properties) -> float:
    """Return the seconds between two heartbeats that an aggregator asks its data owners for.

    Raises:
        ConfigError: ``msg_timeout`` is so short that it would end the waits for living data owners.
    """
    patience, least = settings.msg_timeout, HEARTBEATS_IN_TIMEOUT * least_interval(properties)
    if patience < least:
        found = next(setting for setting in settings.report() if setting.name == "msg_timeout")
        raise ConfigError(
            f"msg_timeout ({found.source}): within {patience:g} s, not even {HEARTBEATS_IN_TIMEOUT} heartbeats of a data owner arrive",
            hint=f"Set it to at least {least:g} over this transport, or to none.",
        )
    return interval_within(patience / HEARTBEATS_IN_TIMEOUT, properties)


def control_message(
    action: Action, reason: str, *, dst_node_id: int, group_id: str, interval: float | None = None
) -> Message:
    """Return the message with content ``{"config": {"action": …, "reason": …}}``.

    The ``interval`` of the heartbeats is for a start only.
    """
    content = _records(action, reason)
    if interval is not None:
        content.config_records["config"][_INTERVAL] = float(interval)
    return Message(content, dst_node_id, SYSTEM_MESSAGE_TYPE, group_id=group_id)


def control_buffers(action: Action) -> list[bytes]:
    """Return the buffers of a control message without a run, node and reason."""
    return records_message_to_buffers(_records(action, ""))


def _records(action: Action, reason: str) -> RecordDict:
    return RecordDict({"config": ConfigRecord({"action": action.value, "reason": reason})})


@dataclass(frozen=True, slots=True)
class Control:
    """The content of a control message."""

    action: Action
    reason: str
    #: The seconds between two heartbeats, of any positive size; None if the aggregator asks for none.
    interval: float | None


def read_control(message: Message) -> Control:
    """Return the content of a control message; MalformedError if the action is unknown, or a value is not allowed."""
    record = message.content.config_records.get("config", ConfigRecord()) if message.has_content() else ConfigRecord()
    try:
        action, reason = Action(str(record.get("action", ""))), printable(str(record.get("reason", "")), 200)
    except ValueError as error:
        raise MalformedError("a control message asks for an unknown action", travels=True) from error
    interval = record.get(_INTERVAL)
    if interval is not None and not (isinstance(interval, float) and 0 < interval < math.inf):
        raise MalformedError("a control message asks for an interval that is not allowed")
    return Control(action, reason, interval)
