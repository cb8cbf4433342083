"""Text for a log and a terminal: that of other participants made safe, and the label of a message."""


def message_label(message_id: str, run: int, app: str) -> str:
    """Return how log lines name a message."""
    return f"message {message_id} of run {run} ({app})"


def printable(text: str) -> str:
    """Replace what could forge a line of a log or drive a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def one_line(text: str) -> str:
    """Drop what would break a line or move a terminal's cursor."""
    return "".join(filter(str.isprintable, text))
