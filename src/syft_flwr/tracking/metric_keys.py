"""The key of a metric in a tracker: ``SOURCE/NAME`` for the whole run, and ``SOURCE/NAME/OWNER`` for one data owner.

Trackers allow few characters in a key. A text with another one gets ``_`` in its place, and a digest at its end, so that
two metrics or two data owners never share a key. A plain email needs none: ``do1_hospital-a.org``.
"""

import hashlib
import re
from functools import lru_cache

#: Characters of the parts of a key, less the digests. MLflow takes keys of 250 characters.
_MOST_SOURCE, _MOST_NAME, _MOST_OWNER = 40, 100, 70
#: A part of a key that each tracker takes.
_PART = re.compile(r"[A-Za-z0-9_.-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
#: An email from whose form with ``_`` the email follows.
_PLAIN_EMAIL = re.compile(r"[a-z0-9.-]+@[a-z0-9-]+\.[a-z0-9.-]+")
#: The last part of a name that could be taken for a data owner, for a number in a list, or for a digest.
_AMBIGUOUS = re.compile(r"(?:.*/)?(?:[a-z0-9.-]+_[a-z0-9-]*\.[a-z0-9.-]+|[0-9]+|.*-[0-9a-f]{8})", re.S)


@lru_cache(maxsize=10_000)
def metric_key(source: str, name: str, data_owner: str = "") -> str:
    """Return the key of a metric. Other arguments give another key."""
    parts = [_part(source, _MOST_SOURCE), _name(name)]
    return "/".join([*parts, _owner(data_owner)] if data_owner else parts)


def item_key(key: str, number: int, data_owner: str = "") -> str:
    """Return the key of one number of a metric that is a list: ``SOURCE/NAME/NUMBER``, and then the data owner."""
    if not data_owner:
        return f"{key}/{number}"
    head, _, owner = key.rpartition("/")
    return f"{head}/{number}/{owner}"


def parameter_key(name: str) -> str:
    """Return the key of a value of the configuration."""
    return _part(name, _MOST_NAME)


def _part(text: str, most: int) -> str:
    """Return a text as one part of a key."""
    if _PART.fullmatch(text) and not _is_special(text) and len(text) <= most:
        return text
    return _with_digest(text, most)


def _name(name: str) -> str:
    parts = name.split("/")
    is_plain = all(_PART.fullmatch(part) and not part.startswith(".") for part in parts)
    if is_plain and not _AMBIGUOUS.fullmatch(name) and len(name) <= _MOST_NAME:
        return name
    return _with_digest(name, _MOST_NAME)


def _owner(email: str) -> str:
    if _PLAIN_EMAIL.fullmatch(email) and len(email) <= _MOST_OWNER:
        return email.replace("@", "_")
    return _with_digest(email, _MOST_OWNER)


def _is_special(text: str) -> bool:
    """Return whether a part begins as one of a path with a meaning, or could be taken for one with a digest."""
    return text.startswith(".") or re.search(r"-[0-9a-f]{8}\Z", text) is not None


def _with_digest(text: str, most: int) -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{_OTHER.sub('_', text[:most]).lstrip('.')}-{digest}"
