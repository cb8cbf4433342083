"""Pings: the aggregator asks each data owner's client for its releases, and for the work that it has.

A client replies at once, also while its app runs. A ping starts no run and changes none, so it also works outside a run.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from flwr.app import ConfigRecord, Message, RecordDict

from syft_flwr._messaging.asking import Ask, Caller, Outcome
from syft_flwr._messaging.wire import Reason
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.control import Action, control_buffers
from syft_flwr.fl_orchestrator.request_config import PLACE, config_to_buffer, with_config
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.software import SOFTWARE_FORM, SYFT_FLWR, flower
from syft_flwr.text import printable

#: The group of a ping begins with this. Each ping is a round of its own, so that no quorum ends it early.
PING_GROUP = "ping-"
#: The longest message type that a header may have, and a number of waiting requests that no client has.
_MAX_TYPE = 128
_MOST_WAITING = 1 << 53

Found = TypeVar("Found", str, int)


@dataclass(frozen=True, slots=True)
class Pong:
    """The reply of one data owner to a ping. Its client stated all values except ``seconds``."""

    #: From the write of the ping until the reply was read, on the clock of the aggregator.
    seconds: float
    #: The releases of the data owner, such as ``syft-flwr 1.0.0`` and ``flwr 1.42.0``.
    software: str
    flower: str
    #: The message type of the request that its app works on; empty if the app is free.
    running: str
    #: The number of further requests that wait for the app or for their objects.
    waiting: int


@dataclass(frozen=True, slots=True)
class NoPong:
    """Why a data owner gave no valid reply to a ping in time."""

    #: One of the codes of the protocol, such as ``no-answer`` or ``no-key``.
    code: str
    text: str


def pong_records(running: str, waiting: int) -> RecordDict:
    """Return the content of the reply of this client to a ping."""
    facts = {"action": Action.PING.value, "software": SYFT_FLWR, "flower": flower()}
    return RecordDict({"config": ConfigRecord({**facts, "running": running, "waiting": waiting})})


def ping(caller: "Caller[Message]", emails: Iterable[str], *, run: int, timeout: float) -> dict[str, Pong | NoPong]:
    """Send a ping to each of these data owners, wait at most ``timeout`` seconds, and return one result for each."""
    buffers = with_config(control_buffers(Action.PING), config_to_buffer({}))
    ids = caller.send(
        [
            Ask(
                recipient=email,
                run=run,
                type=SYSTEM_MESSAGE_TYPE,
                group=PING_GROUP + secrets.token_hex(8),
                lifetime=timeout,
                buffers=buffers,
                once=False,
                recorded=False,
                in_a_round=False,
                always_inline=(0, PLACE),
            )
            for email in emails
        ]
    )
    try:
        caller.wait(ids, timeout=timeout)
    finally:
        # Also after Ctrl-C: a ping that is not withdrawn would wait for its data owner.
        caller.give_up(ids, f"no reply within {timeout:.0f} s")
        outcomes = caller.collect(ids)
    return {outcome.recipient: _result(outcome) for outcome in outcomes}


def _result(outcome: Outcome[Message]) -> Pong | NoPong:
    if outcome.failure:
        return NoPong(outcome.failure.code, outcome.failure.text)
    try:
        return read_pong(outcome.answer, outcome.round_trip)
    except MalformedError as error:
        return NoPong(Reason.INVALID, str(error))


def read_pong(message: Message | None, seconds: float) -> Pong:
    """Return the reply in a message of a data owner; MalformedError if it is not a reply to a ping."""
    record = message.content.get("config") if message and message.has_content() else None
    if not isinstance(record, ConfigRecord) or record.get("action") != Action.PING.value:
        raise MalformedError("the reply to a ping has another content")
    software, its_flower = (_value(record, name, str) for name in ("software", "flower"))
    running, waiting = _value(record, "running", str), _value(record, "waiting", int)
    named = all(re.fullmatch(SOFTWARE_FORM, text) for text in (software, its_flower))
    if not named or len(running) > _MAX_TYPE or not 0 <= waiting < _MOST_WAITING:
        raise MalformedError("the reply to a ping has a value that is not allowed")
    return Pong(seconds, software, its_flower, printable(running, _MAX_TYPE), waiting)


def _value(record: ConfigRecord, name: str, kind: type[Found]) -> Found:
    found = record.get(name)
    # Not isinstance, because True is an int.
    if type(found) is not kind:
        raise MalformedError("the reply to a ping has a value that is not allowed")
    return found
