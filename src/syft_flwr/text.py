"""Text for logs and terminals: cleans text of other participants, counts, labels messages, and names signals."""

import signal


def message_label(message_id: str, run: int, app: str) -> str:
    """Return the label of a message in log lines."""
    return f"message {message_id} of run {run} ({app})"


#: The words for people. JSON, records and options keep the names of the roles.
_ROLES = {"server": "aggregator", "client": "data owner", "datasite": "data owner"}


def shortened(text: str, most: int) -> str:
    """Return a text with at most ``most`` characters, with ``…`` at its end if some are missing."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def role_word(role: str) -> str:
    """Return the word of every output for a role of a participant or of its process."""
    return _ROLES.get(role, role)


def printable(text: str) -> str:
    """Return ``text`` with a space for each character that could forge a log line or control a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: ``1 path``, ``2 paths``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def signal_name(number: int) -> str:
    """Return the name of a signal; its number if it has none, as most real-time signals."""
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, str(number))


def one_line(text: str) -> str:
    """Return ``text`` without line breaks and other control characters."""
    return "".join(filter(str.isprintable, text))
