"""Reads and checks user configurations: the run configuration and the node configuration of a Flower app.

A user configuration has one value for each key: a boolean, a 64-bit integer, a float or a text. Nested tables become keys
with dots, as in Flower.

    >>> parse_user_config(['lr=0.1 model.name="small net"'], "--run-config")
    {'lr': 0.1, 'model.name': 'small net'}
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syft_flwr.config import sources
from syft_flwr.errors import ConfigError
from syft_flwr.text import is_visible

UserConfigValue = bool | int | float | str
UserConfig = dict[str, UserConfigValue]


class PrivateConfig(UserConfig):
    """A configuration that may have secrets: no printed form of it has its texts."""

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{key}={value}' for key, value in self.masked().items())}}}"

    def masked(self) -> UserConfig:
        """Return a copy in which stars replace each text. Values that JSON cannot have become texts, such as ``nan``."""
        return {key: _masked(value) for key, value in self.items()}


def _masked(value: UserConfigValue) -> UserConfigValue:
    if isinstance(value, str):
        return "***"
    return value if isinstance(value, int) or math.isfinite(value) else str(value)


MAX_KEYS = 256
#: UTF-8 bytes of all keys and texts, with 8 bytes for each number.
MAX_SIZE = 32 << 10
#: Characters of one key.
MAX_KEY = 128

#: A pair in the syntax of Flower's options ``--run-config`` and ``--node-config``.
_PAIR = re.compile(r"""\s*(?P<key>[^\s=]+)=(?P<value>'[^']*'|"[^"]*"|\S+)(?:\s+|\Z)""")
#: A word in the place of a key, which an error may show. Other text may be a part of a secret, such as an address.
_WORD = re.compile(r"\s*([\w.-]+)\s*=")
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_ALLOWED = "true or false, a 64-bit integer, a float, or a text in quotes"
_HINT = """Write pairs such as 'lr=0.1 name="net"' without spaces around "=", or the path of one .toml file."""


def parse_user_config(texts: Sequence[str], what: str) -> UserConfig:
    """Return the configuration in the values of an option, of which later values replace earlier ones.

    Args:
        texts: pairs ``key=value`` in TOML, separated by spaces; or one path that ends in ``.toml``.
        what: the option or the variable, for errors. An error names the key and never shows a value.

    Raises:
        ConfigError: a text has another form, or :func:`checked_user_config` refuses a value.
    """
    given = stripped(texts)
    if (path := config_file(given)) is not None:
        return _read_file(path, what)
    values: UserConfig = {}
    for text in given:
        values |= _parse_pairs(text, what)
    return checked_user_config(values, what)


def stripped(texts: Sequence[str]) -> list[str]:
    """Return the values of an option without the spaces around them, and without empty ones."""
    return [text.strip() for text in texts if text.strip()]


def config_file(texts: Sequence[str]) -> Path | None:
    """Return the path if the values of an option are that of one ``.toml`` file; otherwise None."""
    given = stripped(texts)
    return Path(given[0]) if len(given) == 1 and given[0].endswith(".toml") else None


def parse_private_config(raw: Any, what: str) -> PrivateConfig:
    """Return the configuration in a text, in a list of texts or in a mapping of Python; ConfigError if it has none."""
    if isinstance(raw, str):
        return PrivateConfig(parse_user_config([raw], what))
    if isinstance(raw, Sequence) and all(isinstance(text, str) for text in raw):
        return PrivateConfig(parse_user_config(raw, what))
    return PrivateConfig(checked_user_config(raw, what))


def checked_user_config(values: Any, what: str) -> UserConfig:
    """Return a flat copy of ``values`` with plain Python values; scalars of NumPy are converted.

    Args:
        values: a mapping of texts to values or to further mappings.
        what: the source, for errors. An error names the key and never shows a value.

    Raises:
        ConfigError: a key or a value is not allowed, or the configuration is too large.
    """
    try:
        return require_user_config(values)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}", hint=f"Allowed: {_ALLOWED}.") from None


def require_user_config(values: Any) -> UserConfig:
    """Return the same as :func:`checked_user_config`; ValueError with a text for people if it is not allowed."""
    if not isinstance(values, Mapping):
        raise ValueError(f"a {type(values).__name__} is not a configuration")  # noqa: TRY004 - one error for callers
    config = {key: _plain(key, value) for key, value in _flat(values, "", depth=0)}
    if len(config) > MAX_KEYS:
        raise ValueError(f"{len(config)} keys; at most {MAX_KEYS} are allowed")
    size = sum(len(key.encode()) + _size(key, value) for key, value in config.items())
    if size > MAX_SIZE:
        raise ValueError(f"{size} bytes; at most {MAX_SIZE} are allowed")
    return config


def _parse_pairs(text: str, what: str) -> UserConfig:
    pairs: UserConfig = {}
    at, last = 0, ""
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise ConfigError(
                f"{what}: the text at or after {last or _named(text)} is not a pair key=value", hint=_HINT
            )
        at = found.end()
        # Flat at once: two pairs such as a.b=1 and a.c=2 keep both keys.
        pairs |= checked_user_config(_parse_pair(found["key"], found["value"], what), what)
        last = _named(f"{found['key']}=")
    return pairs


def _parse_pair(key: str, value: str, what: str) -> dict[str, Any]:
    try:
        # A comment would drop a part of the value.
        pair = {} if value[0] not in "'\"" and "#" in value else sources.load_toml(f"{key} = {value}")
    except (RecursionError, ValueError):
        pair = {}
    if not pair:
        raise ConfigError(f"{what}: {_named(f'{key}=')} has a value that is not TOML", hint=_HINT)
    return pair


def _named(text: str) -> str:
    word = _WORD.match(text)
    return f"{word[1][:MAX_KEY]!r}" if word else "its beginning"


def _read_file(path: Path, what: str) -> UserConfig:
    # With "=", it may be pairs, of which the last one ends in .toml.
    shown = "the .toml file" if "=" in str(path) else str(path)
    hint = "Correct the path of the .toml file."
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{what}: {shown} is below a home folder that is not known", hint=hint) from None
    text = sources.read_text(path, what=f"{what}: {shown}", hint=hint)
    try:
        values = sources.load_toml(text)
    except (RecursionError, ValueError) as error:
        # The text of the error could show a secret; the place in it does not.
        place, _ = sources.toml_fault(error)
        raise ConfigError(f"{what}: {shown} has broken TOML at {place}", hint=sources.CORRECT_TOML) from None
    return checked_user_config(values, f"{what}: {shown}")


def _flat(values: Mapping[Any, Any], above: str, *, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a key is {name!r:.40}, and not a text")
        key = f"{above}{name}"
        if len(key) > MAX_KEY or not is_visible(key):
            raise ValueError(f"the key {key[:40]!a} is too long, or has invisible characters")
        if isinstance(value, Mapping) and depth < MAX_KEY:
            yield from _flat(value, f"{key}.", depth=depth + 1)
        else:
            yield key, value


def _plain(key: str, value: Any) -> UserConfigValue:
    """Return the value as a plain bool, int, float or str."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        # Python has no number of the same precision as a longdouble, so item() returns it as it is.
        value = float(value) if type(value).__name__ == "longdouble" else value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Compared, because a range() searches one by one for a subclass of int, such as an IntEnum.
        if not _LEAST <= value <= _MOST:
            raise ValueError(f"{key!r} is an integer beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        # The text itself: str() of an Enum is its name.
        return str.__str__(value)
    raise ValueError(f"{key!r} is {'None' if value is None else f'a {type(value).__name__}'}")


def _size(key: str, value: UserConfigValue) -> int:
    try:
        return len(value.encode()) if isinstance(value, str) else 8
    except UnicodeEncodeError:
        raise ValueError(f"{key!r} is a text that cannot be encoded as UTF-8") from None
