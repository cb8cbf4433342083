"""The pages with executed blocks, and their blocks that are not executed."""

from dockit.checkout import ROOT
from dockit.faults import DocumentError
from dockit.page import Block, Kind, Page, read_page

#: The most blocks of all pages that are not executed.
AT_MOST = 10
_DOCS = ROOT / "docs"


def names() -> list[str]:
    """Return the names of the pages, relative to ``docs``."""
    paths = [_DOCS / "quickstart.md", *sorted((_DOCS / "how-to").rglob("*.md"))]
    return [path.relative_to(_DOCS).as_posix() for path in paths if path.is_file() and path.name != "index.md"]


def page_of(name: str) -> Page:
    """Return the page with a name, relative to ``docs``."""
    return read_page(_DOCS / name)


def unexecuted(pages: list[Page]) -> list[Block]:
    """Return the blocks that are not executed."""
    return [block for page in pages for block in page.blocks if block.kind is Kind.SKIPPED]


def check_number(pages: list[Page]) -> None:
    """Raise DocumentError if more than ``AT_MOST`` blocks of the pages are not executed."""
    found = unexecuted(pages)
    if len(found) > AT_MOST:
        listed = "".join(f"    {block.place}: {block.rule.reason}\n" for block in found)
        raise DocumentError(f"{len(found)} blocks are not executed, but at most {AT_MOST} may be so:\n{listed}")
