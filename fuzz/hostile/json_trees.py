"""Mutate JSON as a tree: change a value, a key, an element or the spelling, so that the result is still JSON."""

import json
import random
from typing import Any

_WORDS = ("", "none", "request", "response", "mlkem768-x25519", "train", "é\u202e\n\x1b[0m", "0" * 32, "f" * 64)
_TIMES = ("2030-01-01T12:00:00.123+00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59")
_NUMBERS = (0, -1, 1, 2, 255, 1 << 20, 64 << 20, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, 1 << 63, 1 << 64, 10**30)
_FLOATS = (0.0, -0.0, 1.0, 0.5, 1e9, 1e308, float("inf"), float("nan"))
#: Largest number of copies of an element.
_MANY = 40
#: Largest number of characters that one change may add.
_ROOM = 4_096

Place = tuple[Any, Any]


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Return a copy of the JSON ``data`` with changes in one to three places.

    Raises:
        ValueError: ``data`` is not JSON.
    """
    root = [json.loads(data)]
    for _ in range(generator.randint(1, 3)):
        places = list(_places(root))
        _change(*generator.choice(places), [value[key] for value, key in places], generator)
    if not root:
        return b""
    spaced = generator.random() < 0.05
    text = json.dumps(
        root[0],
        separators=None if spaced else (",", ":"),
        sort_keys=generator.random() < 0.8,
        ensure_ascii=generator.random() < 0.2,
    )
    return text.encode("utf-8", errors="surrogatepass")


def _places(node: Any) -> list[Place]:
    keys = list(node) if isinstance(node, dict) else range(len(node))
    found: list[Place] = []
    for key in keys:
        found.append((node, key))
        if isinstance(node[key], dict | list):
            found += _places(node[key])
    return found


def _change(node: Any, key: Any, others: list[Any], generator: random.Random) -> None:
    kind = generator.randrange(8)
    if kind == 0 and isinstance(node, dict):
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[_text(str(key), generator)] = node[key]
    elif kind == 2 and isinstance(node, list) and len(node) < _MANY:
        # Separate copies, so that later changes affect only one. Few copies of a large element, because three changes
        # could multiply it to gigabytes.
        text = json.dumps([node[key]])
        times = min(generator.choice((1, 2, _MANY)), _ROOM // len(text))
        node[key:key] = [copy for _ in range(times) for copy in json.loads(text)]
    elif kind == 3:
        text = json.dumps(generator.choice(others))
        node[key] = json.loads(text) if len(text) <= _ROOM else None
    elif kind == 4:
        node[key] = generator.choice((None, True, False, [], {}, [[]], *_NUMBERS, *_FLOATS, *_WORDS, *_TIMES))
    elif isinstance(node[key], bool | None):
        node[key] = generator.choice((True, False, None, 0))
    elif isinstance(node[key], int):
        node[key] = _number(node[key], generator)
    elif isinstance(node[key], float):
        node[key] = generator.choice((-node[key], node[key] * 2, int(node[key]) if abs(node[key]) < 1e300 else 0))
    elif isinstance(node[key], str):
        node[key] = _text(node[key], generator)


def _number(value: int, generator: random.Random) -> int:
    return generator.choice((value + 1, value - 1, -value, value * 2, value // 2, generator.choice(_NUMBERS)))


def _text(text: str, generator: random.Random) -> str:
    at = generator.randrange(len(text) + 1)
    kind = generator.randrange(4)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return text[:at] + chr(generator.choice((0, 10, 27, 34, 92, 127, 0x80, 0x2028, 0xFEFF, 0xD800))) + text[at:]
    if kind == 2:
        return text[:at] + text[at:] * 2
    return text.swapcase()
