"""Validates and normalises the email that names a participant.

An email becomes a folder name and a part of signed headers, so the rule is narrower than RFC 5321. Allowed are at most
254 characters of printable ASCII, without path separators, wildcards, braces or quoted local parts.

A brace in an email makes each of its permission patterns in SyftBox a pattern with alternatives: no request gets in. It is
refused over every transport, so that a project can change its transport. No Google account has a brace in its name.
"""

import re
from collections.abc import Iterable

from syft_flwr.errors import ConfigError, shown_repr
from syft_flwr.names import is_carried

_LOCAL = r"[a-z0-9!#$%&'+=^_`{}~-]+(?:\.[a-z0-9!#$%&'+=^_`{}~-]+)*"
_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(f"{_LOCAL}@{_DOMAIN}")
_MAX_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets


def fold(email: str) -> str:
    """Return an email in lower case, to compare it; one with letters outside ASCII unchanged, so that it equals no other.

    Some of these letters become ASCII letters in lower case: two mailboxes would then name one datasite.
    """
    return email.lower() if email.isascii() else email


def normalise(email: str, *, what: str = "email") -> str:
    """Return ``email`` in lower case without outer spaces, the form that is compared, hashed and used as a folder name.

    Raises:
        ConfigError: the email is not valid, or cannot name a datasite.
    """
    # An email with letters outside ASCII does not match.
    folded = fold(email.strip()) if isinstance(email, str) else ""
    if len(folded) > _MAX_LENGTH or not _EMAIL.fullmatch(folded):
        raise ConfigError(f"{what}: {shown_repr(email)} is not a valid email", hint="Use the form name@example.org.")
    if "{" in folded or "}" in folded:
        raise ConfigError(
            f"{what}: {shown_repr(email)} cannot name a datasite: SyftBox reads a brace as a part of a pattern",
            hint="Use another address of the form name@example.org, without braces.",
        )
    if not is_carried(folded):
        raise ConfigError(
            f"{what}: {shown_repr(email)} cannot name a datasite: SyftBox does not synchronise a folder of this name",
            hint="Use another address of the form name@example.org, without parts such as .tmp, .log or .conflict.",
        )
    return folded


def normalise_all(emails: Iterable[str], *, what: str = "datasites") -> list[str]:
    """Return the normalised emails of a list of participants, in the same order.

    Raises:
        ConfigError: an email is not valid or is listed twice, or ``emails`` is a single string.
    """
    if isinstance(emails, str):
        raise ConfigError(
            f"{what}: expected a list of emails, got the single string {shown_repr(emails)}",
            hint='Write a list, such as ["name@example.org"].',
        )
    # A dict, because a list of very many emails would be searched for each of them.
    seen: dict[str, None] = {}
    for email in emails:
        folded = normalise(email, what=what)
        if folded in seen:
            raise ConfigError(f"{what}: {folded} is listed twice", hint="List each datasite once.")
        seen[folded] = None
    return list(seen)
