"""Finds short labels in a message for logs and records: its round, the names of its records, and its error."""

from itertools import islice

from flwr.app import ConfigRecord, Message

from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT, MAX_ROUND
from syft_flwr.text import printable

#: The most names of records, and the most characters of each.
_MAX_NAMES = 50
_MAX_NAME_LENGTH = 100
#: The records with the status of a legacy result.
_LEGACY_STATUS = ("fitres.status", "evaluateres.status", "getparametersres.status", "getpropertiesres.status")


def round_of(message: Message) -> str:
    """Return the round that strategies of Flower's Message API write into the configuration; empty if they did not."""
    # RecordDict.config_records would put the message into a reference cycle and keep its arrays in memory.
    records = message.content.values() if message.has_content() else ()
    rounds = (
        record["server-round"] for record in records if isinstance(record, ConfigRecord) and "server-round" in record
    )
    found = next(rounds, "")
    # A list can be of any length, and is not a round.
    return printable(str(found), MAX_ROUND) if isinstance(found, str | int | float) else ""


def record_names(message: Message) -> tuple[str, ...]:
    """Return the names of the records of a message, without the further ones of a message with very many."""
    names = message.content.keys() if message.has_content() else ()
    return tuple(printable(name, _MAX_NAME_LENGTH) for name in islice(names, _MAX_NAMES))


def error_of(message: Message) -> str:
    """Return the error that an app put into a reply, with its code; empty for a good reply.

    A client of the legacy API reports an error as the status of its result. Strategies count such a result as a failure.
    """
    if message.has_error():
        return _described(message.error.code, message.error.reason)
    for name in _LEGACY_STATUS:
        status = message.content.get(name)
        if isinstance(status, ConfigRecord) and status.get("code", 0) != 0:
            return _described(status["code"], status.get("message"))
    return ""


def _described(code: object, reason: object) -> str:
    return printable(f"code {code}: {reason or 'no reason'}", MAX_ERROR_TEXT)
