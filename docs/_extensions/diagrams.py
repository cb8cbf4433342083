"""Draws the Mermaid diagrams of a page in the browser, with the copy of Mermaid in ``docs/_static``.

Without a script, and in the search, a diagram is its text.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

_CLASS = "mermaid"


class Diagram(SphinxDirective):
    """A code block with the language ``mermaid``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text, language="none", classes=[_CLASS])]


def _load_scripts(
    app: Sphinx, _page: str, _template: str, _context: dict[str, Any], tree: nodes.document | None
) -> None:
    if tree and any(_CLASS in block["classes"] for block in tree.findall(nodes.literal_block)):
        app.add_js_file("mermaid.tiny.js", loading_method="defer")
        app.add_js_file("diagrams.js", loading_method="defer")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive(_CLASS, Diagram)
    app.connect("html-page-context", _load_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
