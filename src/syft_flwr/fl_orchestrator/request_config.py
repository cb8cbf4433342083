"""Puts the run configuration of the aggregator into each request, as its second buffer, and reads it at the data owner.

The configuration of a peer is hostile until it is checked: its size is bounded before it is parsed, and its keys and values
after that.
"""

from collections.abc import Sequence

from flwr.app import ConfigRecord, RecordDict
from google.protobuf.message import DecodeError

from syft_flwr._messaging.wire import Body
from syft_flwr._messaging.wire.limits import MAX_RUN_CONFIG
from syft_flwr.config.user_config import MAX_KEYS, UserConfig, require_user_config
from syft_flwr.errors import MalformedError
from syft_flwr.flower import ProtoRecordDict, recorddict_to_proto
from syft_flwr.text import printable

#: The number of the buffer with the configuration.
PLACE = 1
_RECORD = "run-config"
_KINDS = {"bool", "sint64", "double", "string"}


def config_to_buffer(values: UserConfig) -> bytes:
    """Return the buffer of a run configuration. The same values give the same bytes, in any order."""
    record = ConfigRecord(dict(sorted(values.items())))
    return bytes(recorddict_to_proto(RecordDict({_RECORD: record})).SerializeToString(deterministic=True))


def with_config(buffers: Sequence[bytes], config: bytes) -> list[bytes]:
    """Return the buffers of a request: those of a message, with the run configuration in its place."""
    return [*buffers[:PLACE], config, *buffers[PLACE:]]


def without_config(buffers: Sequence[bytes]) -> list[bytes]:
    """Return the buffers of the message in a request."""
    return [*buffers[:PLACE], *buffers[PLACE + 1 :]]


def read_config(body: Body) -> UserConfig:
    """Return the run configuration in a request; MalformedError if there is none, or if it is not allowed."""
    buffer = body.inline_buffer(PLACE)
    if buffer is None:
        raise MalformedError("the request has no run configuration in its envelope", travels=True)
    if len(buffer) > MAX_RUN_CONFIG:
        raise MalformedError(f"the run configuration has {len(buffer)} bytes; at most {MAX_RUN_CONFIG} are allowed")
    try:
        return require_user_config(_parse(buffer))
    except (DecodeError, ValueError) as error:
        # It quotes keys of the aggregator only.
        raise MalformedError(
            f"the run configuration is not allowed: {printable(str(error), 200)}", travels=True
        ) from error


def _parse(buffer: bytes) -> dict[str, object]:
    items = ProtoRecordDict.FromString(buffer).items
    if len(items) != 1 or items[0].key != _RECORD or items[0].WhichOneof("value") != "config_record":
        raise ValueError("it is not one record of values")
    pairs = items[0].config_record.items
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"{len(pairs)} keys; at most {MAX_KEYS} are allowed")
    kinds = [str(pair.value.WhichOneof("value")) for pair in pairs]
    if other := sorted(set(kinds) - _KINDS):
        raise ValueError(f"a value has the type {other[0]}")
    values = {pair.key: getattr(pair.value, kind) for pair, kind in zip(pairs, kinds, strict=True)}
    if len(values) < len(pairs):
        raise ValueError("a key is there twice")
    return values
