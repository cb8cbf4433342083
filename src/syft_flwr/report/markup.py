"""Writes HTML. Each text of a record is escaped here, because peers choose some of them.

The markup leaves out the end tags that HTML allows to leave out, so that the tables of a large run stay small.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from syft_flwr.runs.secrets_mask import masked_text
from syft_flwr.text import printable

#: Characters of one text in a page.
_MOST = 2_000
#: Rows of a table from which on a column with one text is told once.
_LONG = 20
#: A short text that stays as it is.
_PLAIN = re.compile(r"[A-Za-z0-9.,:@ +-]{0,100}")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page. Its cells are texts, not HTML."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    #: The number of first columns with texts; numbers follow, which are aligned at the right.
    texts: int = 1


def shown(text: object) -> str:
    """Return a text as inert HTML in one line, with invisible and deceiving characters escaped."""
    given = str(text)
    # Most cells of a large page are numbers.
    return given if _PLAIN.fullmatch(given) else escape(printable(given, _MOST))


@lru_cache(1_000)
def told(text: str) -> str:
    """Return a text of an app or a log without the parts that look like secrets: a report is for other people, too."""
    return masked_text(text, are_digests=True)


def element(tag: str, content: str, **attributes: str) -> str:
    """Return an element with ``content``, which is HTML. The values of attributes are texts."""
    given = "".join(f' {name.strip("_").replace("_", "-")}="{shown(value)}"' for name, value in attributes.items())
    return f"<{tag}{given}>{content}</{tag}>"


def table_html(table: Table) -> str:
    """Return a table that scrolls in a region of its own, also with the keyboard.

    In a long table, a column with the same text in each row is told once, below the title.
    """
    same = _same_columns(table) if len(table.rows) > _LONG else {}
    kept = [number for number in range(len(table.columns)) if number not in same]
    heads = "".join(f"<th scope=col>{shown(table.columns[number])}" for number in kept)
    rows = "".join(f"<tr>{_cells([row[number] for number in kept])}" for row in table.rows)
    told = "; ".join(f"{table.columns[number]}: {text}" for number, text in same.items() if text)
    note = f"<small>In each row, {shown(told)}</small>" if told else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{shown(table.title)}, table">'
        f'<table class="t{sum(number < table.texts for number in kept)}"><caption>{shown(table.title)}{note}</caption>'
        f"<thead><tr>{heads}<tbody>{rows}</table></div>"
    )


def _same_columns(table: Table) -> dict[int, str]:
    """Return the columns after the first one with the same text in each row, with this text."""
    first = table.rows[0]
    return {
        number: first[number]
        for number in range(1, len(table.columns))
        if all(row[number] == first[number] for row in table.rows)
    }


def folded(summary: str, content: str, *, is_open: bool = False) -> str:
    """Return a part that a person opens. ``content`` is HTML."""
    return f"<details{' open' if is_open else ''}><summary>{shown(summary)}</summary>{content}</details>"


def pairs_html(title: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return names with their values as a table of two columns."""
    return table_html(Table(title, ("Name", "Value"), list(pairs), texts=2))


def _cells(row: Sequence[str]) -> str:
    first, *rest = row
    # A heading without a text would have no meaning.
    return (f"<th>{shown(first)}" if first else "<td>") + "".join(f"<td>{shown(cell)}" for cell in rest)
