"""Pages with the output of a cell, in the colours of the programs that show notebooks."""

from html import escape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

#: Background and text of the output of a cell, in the default themes of VS Code and of Colab.
EDITORS = {
    "VS Code light": ("#ffffff", "#3b3b3b"),
    "VS Code dark": ("#1f1f1f", "#cccccc"),
    "VS Code high contrast": ("#000000", "#ffffff"),
    "Colab dark": ("#383838", "#d5d5d5"),
}
#: The element with the output, on each page.
OUTPUT = ".output"


def jupyter_page(html: str, theme: str, path: Path) -> None:
    """Write the page of a notebook with JupyterLab's own styles of the theme ``light`` or ``dark``."""
    output = nbformat.v4.new_output("display_data", {"text/html": f'<div class="output">{html}</div>'})
    cell = nbformat.v4.new_code_cell("run", outputs=[output])
    exporter = HTMLExporter(template_name="lab", theme=theme)
    # The page needs no script.
    exporter.require_js_url = exporter.mathjax_url = exporter.mermaid_js_url = exporter.jquery_url = ""
    page, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    path.write_text(page, encoding="utf-8")


def editor_page(html: str, editor: str, path: Path) -> None:
    """Write a page in the colours of one of the :data:`EDITORS`."""
    background, text = EDITORS[editor]
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(editor)}</title>'
        f'<body style="background:{background};color:{text};font:13px sans-serif">'
        f'<main><h1>{escape(editor)}</h1><div class="output">{html}</div></main></body></html>',
        encoding="utf-8",
    )
