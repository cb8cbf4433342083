"""Gives each command, option, exit code, setting, reason, event and check an entry: an anchor, and a result of the search.

They are rows of tables and headings of the Markdown. The first cell of a row has the name.
"""

import re
from collections.abc import Iterator
from typing import cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.util.typing import ExtensionMetadata

#: The kind of the rows of a table, by page and head of the first column.
_TABLES = {
    ("docs/cli", "argument or option"): "option",
    ("docs/cli", "option"): "option",
    ("docs/cli", "check"): "check",
    ("docs/cli", "code"): "exit-code",
    ("docs/configuration", "setting, and its environment variable"): "setting",
    ("docs/reference/reasons", "code"): "reason",
    ("docs/runs", "event or field"): "event",
}
#: The kinds, each with its name for readers and the words before the name of an entry.
_KINDS = {
    "command": ("command", ""),
    "option": ("option", ""),
    "check": ("check of doctor", ""),
    "exit-code": ("exit code", "exit code "),
    "setting": ("setting", ""),
    "reason": ("reason of a failed request", ""),
    "event": ("event of a record", ""),
}
_PROGRAM = "syft-flwr"


def _add_entries(app: Sphinx, tree: nodes.document) -> None:
    page = app.env.docname
    for section in tree.findall(nodes.section) if page == "docs/cli" else ():
        if (title := _title(section)).startswith(f"{_PROGRAM} "):
            _note(app, "command", title, section)
    for table in tree.findall(nodes.table):
        kind = _TABLES.get((page, _head(table)))
        for row in next(table.findall(nodes.tbody)).findall(nodes.row) if kind else ():
            for name in _names(row, kind or "", table):
                _note(app, kind or "", name, row)


def _head(table: nodes.table) -> str:
    head = next(iter(table.findall(nodes.thead)), None)
    return next(head.findall(nodes.entry)).astext() if head else ""


def _title(section: nodes.Node) -> str:
    return section.next_node(nodes.title).astext() if isinstance(section, nodes.section) else ""


def _names(row: nodes.row, kind: str, table: nodes.table) -> Iterator[str]:
    cell = next(row.findall(nodes.entry))
    if kind == "event":
        # A field of an event is not bold.
        yield from (strong.astext() for strong in cell.findall(nodes.strong))
    elif kind == "option":
        command = _title(table.parent)
        command = command if command.startswith(f"{_PROGRAM} ") else _PROGRAM
        words = [literal.astext() for literal in cell.findall(nodes.literal)]
        yield from (f"{command} {word}" for word in words if word.startswith("-") or word == words[0])
    elif kind == "exit-code":
        yield cell.astext()
    else:
        # The second name of a setting is that of its environment variable.
        yield from (literal.astext() for literal in cell.findall(nodes.literal))


def _note(app: Sphinx, kind: str, name: str, node: nodes.Element) -> None:
    anchor = f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
    if name.endswith(("-V", "-N")):
        # A capital letter is another option than the small one.
        anchor += "-capital"
    node["ids"].append(anchor)
    domain = cast("StandardDomain", app.env.get_domain("std"))
    domain.note_object(kind, _KINDS[kind][1] + name, anchor, location=node)
    if isinstance(node, nodes.row) and not any(
        "headerlink" in link["classes"] for link in node.findall(nodes.reference)
    ):
        link = nodes.reference("", "#", refuri=f"#{anchor}", internal=True, classes=["headerlink"])
        link["reftitle"] = f"Link to {name}"
        next(node.findall(nodes.paragraph)).append(link)


def setup(app: Sphinx) -> ExtensionMetadata:
    for kind, (title, _) in _KINDS.items():
        app.add_object_type(kind, kind, objname=title)
    app.connect("doctree-read", _add_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
