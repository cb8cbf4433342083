"""Text of other participants, made fit for a log and a terminal."""


def printable(text: str) -> str:
    """Replace what could forge a line of a log or drive a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def one_line(text: str) -> str:
    """Drop what would break a line or move a terminal's cursor."""
    return "".join(filter(str.isprintable, text))
