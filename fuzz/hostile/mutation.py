"""Mutations that know the format of a part: JSON as a tree, and protobuf by way of JSON."""

import contextlib
import json
import random
from collections.abc import Callable

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from hostile import frames, json_trees

#: The mutation of libFuzzer: takes the data and the largest size of the result.
Mutate = Callable[[bytes, int], bytes]
_SHARE_OF_TREES = 0.6
# The protobuf library upb raises SystemError for a field name that is not UTF-8.
_NO_TREE = (ValueError, RecursionError, DecodeError, json_format.Error, AttributeError, TypeError, SystemError)


def mutate_frames(data: bytes, max_size: int, seed: int, mutate: Mutate, proto: type[Message] | None = None) -> bytes:
    """Return ``data`` with one part changed.

    Args:
        data: parts in the form of :mod:`hostile.frames`. A JSON part is usually changed as a tree.
        max_size: largest size of the result in bytes.
        seed: seed of the random choices.
        mutate: libFuzzer's own mutation, for changes as bytes.
        proto: the protobuf class of the second part, if it has one.
    """
    generator = random.Random(seed)
    parts = frames.split(data)
    if not parts or generator.random() < 0.1:
        return mutate(data, max_size)
    number = generator.randrange(len(parts))
    part = parts[number]
    changed: bytes | None = None
    if generator.random() < _SHARE_OF_TREES:
        # A part that cannot be parsed as a tree is changed as bytes.
        with contextlib.suppress(*_NO_TREE):
            if proto is not None and number == 1:
                changed = _mutate_proto(part, proto, generator)
            elif part[:1] in (b"{", b"["):
                changed = json_trees.mutate(part, generator)
    if changed is None:
        room = max(1, max_size - len(data) + len(part))
        changed = mutate(part, room) if part else bytes([generator.randrange(256)])
    parts[number] = changed
    return frames.join(parts)[:max_size]


def mutate_json(data: bytes, max_size: int, seed: int, mutate: Mutate) -> bytes:
    """Return the JSON ``data`` changed as a tree or as bytes."""
    generator = random.Random(seed)
    if generator.random() < _SHARE_OF_TREES:
        with contextlib.suppress(ValueError, RecursionError):
            return json_trees.mutate(data, generator)[:max_size]
    return mutate(data, max_size)


def _mutate_proto(data: bytes, proto: type[Message], generator: random.Random) -> bytes:
    message = proto()
    message.ParseFromString(data)
    tree = json.dumps(json_format.MessageToDict(message, preserving_proto_field_name=True)).encode()
    changed = json.loads(json_trees.mutate(tree, generator))
    return bytes(json_format.ParseDict(changed, proto(), ignore_unknown_fields=True).SerializeToString())
