"""Parses and validates the values of settings.

A parser gets ``raw`` (text from the environment, or a typed value from TOML, JSON or Python) and ``what`` (name and
source of the setting). It returns the value in its final type. For a wrong value it raises a
:class:`~syft_flwr.errors.ConfigError` with ``what``, the value and the allowed values.
"""

import ipaddress
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from syft_flwr.app_names import normalise_app_name
from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError

Parser = Callable[[Any, str], Any]

ROLES = ("server", "client")
NODES = ("all", "online")
RUN_CONFIGS = ("sent", "own")
TRACKERS = ("tensorboard", "mlflow")

#: The levels of a log, from the most lines to the fewest.
LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")

#: In seconds. Waits of the system overflow at about nine times this value.
MAX_SECONDS = 1e9
#: The value of a limit that never acts.
NO_LIMIT = "none"

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([A-Z]{0,2})", re.I)

_NUMBER = re.compile(r"[0-9]{1,9}")

_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_app_name(raw: Any, what: str) -> str:
    return normalise_app_name(raw, what=what)


def parse_email(raw: Any, what: str) -> str:
    return normalise(raw, what=what)


def parse_emails(raw: Any, what: str) -> tuple[str, ...]:
    if not isinstance(raw, Iterable) or isinstance(raw, bytes | Mapping):
        raise ConfigError.not_allowed(what, raw, "a list of emails")
    return tuple(normalise_all(raw, what=what))


def parse_trackers(raw: Any, what: str) -> tuple[str, ...]:
    """Return the names of trackers: a list, or a text with commas between them."""
    names = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(names, Iterable) or isinstance(names, bytes | Mapping):
        raise ConfigError.not_allowed(what, raw, f"a list of {', '.join(TRACKERS)}")
    found = [name.strip() if isinstance(name, str) else name for name in names]
    for name in found:
        if name not in TRACKERS:
            raise ConfigError.not_allowed(what, name, ", ".join(TRACKERS))
    return tuple(dict.fromkeys(found))


def parse_seconds(raw: Any, what: str) -> float:
    allowed = f"a number of seconds above 0 and at most {MAX_SECONDS:.0f}"
    try:
        # float(True) would be 1.0.
        seconds = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError.not_allowed(what, raw, allowed) from None
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError.not_allowed(what, raw, allowed)
    return seconds


def seconds_within(least: float, most: float) -> Parser:
    """Return a parser of a number of seconds between two bounds, which are allowed."""

    def parse(raw: Any, what: str) -> float:
        allowed = f"a number of seconds from {least:g} to {most:g}"
        try:
            seconds = parse_seconds(raw, what)
        except ConfigError:
            raise ConfigError.not_allowed(what, raw, allowed) from None
        if not least <= seconds <= most:
            raise ConfigError.not_allowed(what, raw, allowed)
        return seconds

    return parse


def number_within(least: int, most: int) -> Parser:
    """Return a parser of a whole number between two bounds, which are allowed."""

    def parse(raw: Any, what: str) -> int:
        text = raw.strip() if isinstance(raw, str) else str(raw) if type(raw) is int else ""
        number = int(text) if _NUMBER.fullmatch(text) else -1
        if not least <= number <= most:
            raise ConfigError.not_allowed(what, raw, f"a whole number from {least} to {most}")
        return number

    return parse


def parse_limit(raw: Any, what: str) -> float:
    """Return a number of seconds; infinity for ``none``."""
    if raw == math.inf or (isinstance(raw, str) and raw.strip().casefold() == NO_LIMIT):
        return math.inf
    try:
        return parse_seconds(raw, what)
    except ConfigError as error:
        raise ConfigError(str(error), hint=f"{error.hint.removesuffix('.')}, or {NO_LIMIT}.") from None


def parse_share(raw: Any, what: str) -> float:
    allowed = "a number above 0 and at most 1, such as 0.8"
    try:
        share = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError.not_allowed(what, raw, allowed) from None
    if not 0 < share <= 1:
        raise ConfigError.not_allowed(what, raw, allowed)
    return share


def parse_size(raw: Any, what: str) -> int:
    text = raw.strip() if isinstance(raw, str) else str(raw) if type(raw) is int else ""
    found = _SIZE.fullmatch(text)
    if found is None or found[2].upper() not in _UNITS:
        raise ConfigError.not_allowed(
            what, raw, f"a number of bytes, or one with {', '.join(filter(None, _UNITS))}, such as 10GB"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def parse_boolean(raw: Any, what: str) -> bool:
    if isinstance(raw, bool):
        return raw
    value = _BOOLEANS.get(raw.strip().casefold()) if isinstance(raw, str) else None
    if value is None:
        raise ConfigError.not_allowed(what, raw, ", ".join(_BOOLEANS))
    return value


def parse_level(raw: Any, what: str) -> str:
    name = str(raw).strip().upper()
    if name not in LEVELS:
        raise ConfigError.not_allowed(what, raw, ", ".join(LEVELS))
    return name


def parse_command(raw: Any, what: str) -> str:
    """Return the words of a command as one text, quoted as for a shell. No shell ever reads it."""
    try:
        words = shlex.split(raw) if isinstance(raw, str) else list(raw)
    except (TypeError, ValueError):
        words = []
    if not words or not all(map(_is_word, words)) or not words[0] or not _has_home(words[0]):
        # The value is not shown: a command may contain a secret.
        raise ConfigError(f"{what}: the value is not a command", hint="Allowed: a program and its arguments.")
    return shlex.join(words)


def _is_word(word: object) -> bool:
    """Return whether a command can have this word: text that the system can encode."""
    try:
        return isinstance(word, str) and b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def _has_home(program: str) -> bool:
    """Return False for a program below the home folder of a user that this machine does not have."""
    try:
        Path(program).expanduser()
    except RuntimeError:
        return not program.startswith("~")
    return True


def parse_path(raw: Any, what: str) -> Path:
    try:
        text = os.fspath(raw)
    except TypeError:
        raise ConfigError.not_allowed(what, raw, "a path") from None
    if not isinstance(text, str) or not text or _CONTROL.search(text):
        # The value is not shown: it may be a secret instead of the path of its file.
        raise ConfigError(f"{what}: the value is not a path", hint="Allowed: the path of a file or folder.")
    return utf8_path(Path(text), what)


def absolute(path: Path) -> Path:
    """Return an absolute path; ConfigError if the current folder was deleted."""
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: the current folder of this process was deleted", hint="Change to another folder: cd"
        ) from error


def utf8_path(path: Path, what: str) -> Path:
    """Return ``path``; ConfigError if its name is not UTF-8, because records and messages could not name it."""
    shown = os.fsencode(path).decode(errors="backslashreplace")
    if shown != str(path):
        raise ConfigError(f"{what}: the name {shown} is not UTF-8", hint="Rename the file or folder.")
    return path


def parse_loopback(raw: Any, what: str) -> str:
    """Return the ``http://`` address of an emulator on this machine.

    Other machines are refused, because the tokens travel to this address without encryption.
    """
    try:
        parts = urlsplit(raw if isinstance(raw, str) else "")
        host, port = parts.hostname or "", parts.port
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local or parts.scheme != "http" or parts.username is not None or parts.path.strip("/") or parts.query:
        # The value is not shown: it may contain a password.
        raise ConfigError(
            f"{what}: the value is not an address of this machine", hint="Allowed: http://127.0.0.1:PORT, no path."
        )
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}" if port is None else f"http://{name}:{port}"


def choice(*allowed: str) -> Parser:
    """Return a parser that accepts exactly the words ``allowed``."""

    def parse(raw: Any, what: str) -> str:
        if raw not in allowed:
            raise ConfigError.not_allowed(what, raw, ", ".join(allowed))
        return str(raw)

    return parse
