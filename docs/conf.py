"""Configuration of Sphinx for the documentation site: ``make docs``.

The source folder is the root of the repository, so a relative link works on the site as it does on GitHub. Nothing of a page
comes from another host, and the build needs no network.
"""

import sys
from pathlib import Path

from ipython_pygments_lexers import IPython3Lexer
from sphinx.highlighting import lexers

from syft_flwr import __version__

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE / "_extensions"), str(_HERE.parent / "tests" / "docs")]

# The cells of a page may have lines for the shell, as in a notebook.
lexers["python"] = IPython3Lexer()

project = "syft_flwr"
author = "the authors of syft_flwr"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "block_captions",
    "diagrams",
    "entries",
    "public_signatures",
    "repository_links",
]

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "tests/README.md",
    "examples/*/README.md",
    "examples/*/data/README.md",
    "examples/diabetes/*.ipynb",
]
# A template is no page. The other folders are left out so that the search for pages does not enter them.
exclude_patterns = ["docs/adr/template.md", "docs/_*", ".*", "src", "**/.ipynb_checkpoints"]
nitpicky = True
# Only dashes: Sphinx writes two before the meaning of an exception. Quotes stay as they are, so that they can be copied.
smartquotes_action = "D"

# The notebooks have stored outputs: they need several participants at the same time, so a build cannot run them.
nb_execution_mode = "off"
# Its default loads scripts for widgets from another host.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_heading_anchors = 6
# The README has an image with a width, which Markdown cannot give.
myst_enable_extensions = ["html_image"]
myst_fence_as_directive = ["mermaid"]
myst_links_external_new_tab = False

# Committed copies, docs/adr/0034-documentation-site.md.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", str(_HERE / "_inventories" / "python.inv")),
    "asyncio": ("https://docs.python.org/3/library/", str(_HERE / "_inventories" / "asyncio.inv")),
    "flower": ("https://flower.ai/docs/framework/", str(_HERE / "_inventories" / "flower.inv")),
    "numpy": ("https://numpy.org/doc/stable/", str(_HERE / "_inventories" / "numpy.inv")),
}
nitpick_ignore = [
    # Flower's reference has no page for these two.
    ("py:class", "flwr.compat.common.typing.Parameters"),
    ("py:class", "flwr.supercore.run.Run"),
    # The type variable of a method: it has no entry anywhere.
    ("py:class", "syft_flwr.emulators.syftbox.link.T"),
]
nitpick_ignore_regex = [
    # A public object can hold a private part, which no page explains. So are the hooks of the faithful SyftBox emulator.
    ("py:class", r"syft_flwr\._.*"),
    ("py:class", r"syft_flwr\.emulators\.syftbox\.faithful\..*"),
    # The result of `Checkpoints.keep`: it behaves as the strategy that it got.
    ("py:class", r"Kept(Legacy)?Strategy"),
]
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_title = f"syft_flwr {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(_HERE / "_static" / "scorer.js")
# The root of the site leads to the start page.
html_extra_path = ["_root"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
# A page without neighbours in its part of the navigation uses the room.
html_sidebars = {"docs/index": [], "docs/quickstart": [], "docs/troubleshooting": [], "search": []}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
