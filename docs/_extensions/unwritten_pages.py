"""Leaves pages that are not written yet out of the tables of contents."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def _drop(app: Sphinx, page: str, source: list[str]) -> None:
    folder = Path(app.srcdir, page).parent

    def kept(block: re.Match[str]) -> str:
        lines = block[0].splitlines()
        return "\n".join(line for line in lines if not re.fullmatch(r"[\w./-]+", line) or _exists(folder / line))

    source[0] = re.sub(r"^```\{toctree\}.*?^```$", kept, source[0], flags=re.M | re.S)


def _exists(path: Path) -> bool:
    return any(path.with_name(path.name + suffix).exists() for suffix in ("", ".md", ".ipynb"))


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _drop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
