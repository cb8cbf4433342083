"""Lets every relative link of a page work on the site as it does on GitHub.

A link to a folder leads to the page that GitHub shows with it, ``README.md`` or ``index.md``. A link to a Markdown file that is
no page of the site leads to a copy of the file, as a link to any other file does.
"""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_PAGES = ("README.md", "index.md")


def _resolve(app: Sphinx, tree: nodes.document) -> None:
    for link in list(tree.findall(addnodes.pending_xref)):
        if link["reftype"] != "myst":
            continue
        if not link["refdomain"] and (page := _page_of(app, link["reftarget"], link["refdoc"])):
            link["refdomain"], link["reftarget"], link["reftargetid"] = "doc", page, None
        elif link["refdomain"] == "doc" and link["reftarget"] not in app.env.found_docs:
            path = f"/{link['reftarget']}.md"
            copy = addnodes.download_reference("", "", *link.children, reftarget=path, refdoc=link["refdoc"])
            link.replace_self(copy)


def _page_of(app: Sphinx, target: str, source: str) -> str | None:
    folder = Path(app.env.relfn2path(target, source)[1])
    found = (app.env.path2doc(folder / name) for name in _PAGES if (folder / name).is_file())
    return next((page for page in found if page), None)


def setup(app: Sphinx) -> ExtensionMetadata:
    # Before Sphinx collects the files that are copied.
    app.connect("doctree-read", _resolve, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
