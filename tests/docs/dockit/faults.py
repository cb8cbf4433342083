"""The error of a document: a block that cannot be read, or that fails."""

#: The longest output in a message, from its end.
_SHOWN = 6_000


class DocumentError(AssertionError):
    """A block of a page is wrong. The text begins with the page and the line."""


def shown(output: str) -> str:
    """Return an output for a message, indented and without the beginning of a long one."""
    cut = output if len(output) <= _SHOWN else f"… {output[-_SHOWN:]}"
    return "".join(f"    {line}\n" for line in cut.splitlines()) or "    (no output)\n"
