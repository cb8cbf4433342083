"""The console: prints text for a person, without characters that control the terminal or that it cannot write."""

from typing import TYPE_CHECKING

from syft_flwr.text import encodable, escaped, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def print_text(console: "Console", text: str) -> None:
    """Print a text as it is: markup is not interpreted, and long lines are not wrapped."""
    shown = encodable(escaped(text), console.encoding)
    console.print(shown, markup=False, highlight=False, emoji=False, soft_wrap=True)


def cell(console: "Console", text: str, style: str = "") -> "Text":
    """Return the text of a cell of a table, in one line."""
    from rich.text import Text

    return Text(encodable(" ".join(printable(text).split()), console.encoding), style=style)
