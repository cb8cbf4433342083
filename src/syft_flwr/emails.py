"""The email that names a participant: one rule for what is allowed, one spelling to compare.

An email becomes a folder name and part of signed headers, so the rule is narrower than RFC 5321: printable ASCII
without path separators and wildcards, no quoted local parts, at most 254 characters.
"""

import re
from collections.abc import Iterable

from syft_flwr.errors import ConfigError
from syft_flwr.names import is_carried

_LOCAL = r"[a-z0-9!#$%&'+=^_`{}~-]+(?:\.[a-z0-9!#$%&'+=^_`{}~-]+)*"
_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(f"{_LOCAL}@{_DOMAIN}")
_MAX_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets


def normalise(email: str, *, what: str = "email") -> str:
    """Return the one spelling of ``email`` that is compared, hashed and used as a folder name.

    Raises:
        ConfigError: it is not an email that can name a datasite.
    """
    # Some letters outside ASCII fold to letters inside: two mailboxes would become one datasite.
    folded = email.strip().lower() if isinstance(email, str) and email.isascii() else ""
    if len(folded) > _MAX_LENGTH or not _EMAIL.fullmatch(folded):
        raise ConfigError(f"{what}: {email!r} is not a valid email", hint="Use the form name@example.org.")
    if not is_carried(folded):
        raise ConfigError(
            f"{what}: {email!r} cannot name a datasite: SyftBox never carries a folder that is called so",
            hint="Use another address of the form name@example.org, without parts such as .tmp, .log or .conflict.",
        )
    return folded


def normalise_all(emails: Iterable[str], *, what: str = "datasites") -> list[str]:
    """Normalise a list of participants; a repeated one is an error, never dropped without a word."""
    if isinstance(emails, str):
        raise ConfigError(f"{what}: expected a list of emails, got the single string {emails!r}")
    seen: list[str] = []
    for email in emails:
        folded = normalise(email, what=what)
        if folded in seen:
            raise ConfigError(f"{what}: {folded} is listed twice", hint="List each datasite once.")
        seen.append(folded)
    return seen
