"""Makes the reply to a message of a strategy: the reply of the data owner, or an error ``Message`` with a reason."""

from collections.abc import Sequence
from datetime import datetime

from flwr.app import Error, Message, Metadata, MetricRecord

from syft_flwr._messaging.asking import Outcome
from syft_flwr._messaging.wire import Reason
from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.codec import message_from_buffers
from syft_flwr.fl_orchestrator.record_check import place
from syft_flwr.flower import ErrorCode, make_message
from syft_flwr.text import printable

_ERROR_CODES: dict[str, int] = {
    Reason.APP_LOAD: ErrorCode.LOAD_CLIENT_APP_EXCEPTION,
    Reason.APP_RAISED: ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
    Reason.WORKER_DIED: ErrorCode.CLIENT_APP_CRASHED,
    Reason.NO_ANSWER: ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    Reason.LATE: ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    Reason.NO_KEY: ErrorCode.NODE_UNAVAILABLE,
    Reason.SYNC_REFUSED: ErrorCode.NODE_UNAVAILABLE,
    Reason.NOT_SENT: ErrorCode.MESSAGE_UNAVAILABLE,
    Reason.STORAGE_FULL: ErrorCode.MESSAGE_UNAVAILABLE,
    Reason.INTEGRITY: ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
}

#: The numbers of a legacy result. Strategies multiply them, and Python repeats a list as often as an integer says.
_NUMBERS = (
    ("evaluateres.loss", "loss"),
    ("evaluateres.num_examples", "num_examples"),
    ("fitres.num_examples", "num_examples"),
)


def reply_from_buffers(buffers: Sequence[bytes]) -> Message:
    """Return the reply of a data owner, as :func:`message_from_buffers`.

    Raises:
        MalformedError: also if a legacy result has a list in the place of a number.
    """
    reply = message_from_buffers(buffers)
    for name, key in _NUMBERS if reply.has_content() else ():
        record = reply.content.get(name)
        if isinstance(record, MetricRecord) and isinstance(record.get(key), list):
            raise MalformedError(f"{place(name, key)} is a list in the place of a number")
    return reply


def make_reply(outcome: Outcome[Message], asked: Metadata, now: datetime) -> Message:
    """Return the reply to the message with the metadata ``asked``.

    Its metadata come from ``asked`` and not from the peer. The signature of the envelope was verified for this node and
    this message.
    """
    metadata = Metadata(
        run_id=asked.run_id,
        message_id=f"{outcome.id}-reply",
        src_node_id=asked.dst_node_id,
        dst_node_id=asked.src_node_id,
        reply_to_message_id=outcome.id,
        group_id=asked.group_id,
        created_at=now.timestamp(),
        ttl=asked.ttl,
        message_type=asked.message_type,
        src_task_id=asked.dst_task_id,
        dst_task_id=asked.src_task_id,
    )
    metadata.delivered_at = ""
    if outcome.answer is None:
        return make_message(metadata=metadata, error=_error_of(outcome))
    if outcome.answer.has_content():
        return make_message(metadata=metadata, content=outcome.answer.content)
    # The app itself returned an error. Its reason is shortened to one line of a log.
    reason = printable(outcome.answer.error.reason or "", MAX_ERROR_TEXT)
    return make_message(metadata=metadata, error=Error(outcome.answer.error.code, reason))


def _error_of(outcome: Outcome[Message]) -> Error:
    code, text = ErrorCode.UNKNOWN, "no outcome"
    if failure := outcome.failure:
        code = _ERROR_CODES.get(failure.code, ErrorCode.UNKNOWN)
        reference = f" (reference {failure.reference} in the data owner's log)" if failure.reference else ""
        text = f"{failure.code}: {failure.text}{reference}"
    return Error(code, f"{outcome.recipient}: {text}")
