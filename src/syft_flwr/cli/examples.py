"""The examples at the end of each help text."""


def examples(*lines: str) -> str:
    """Return the end of a help text with these commands, each on a line of its own."""
    # Rich would read a style in brackets. An empty line is a line break in the end of a help text.
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *(line.replace("[", "\\[") for line in lines)))
