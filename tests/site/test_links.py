"""The built site: each link leads to an element, each page is in the navigation, and nothing comes from another host."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sitekit.built import SITE, Page, pages

#: Sphinx makes these pages itself. The first one leads to the start page.
_WITHOUT_NAVIGATION = {"index.html", "genindex.html", "search.html", "py-modindex.html"}


def _target(page: Page, address: str) -> tuple[str, str] | None:
    """Return the file below the site and the anchor of an address; None for another host."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    return path.relative_to(SITE.resolve()).as_posix(), unquote(parts.fragment)


def test_the_site_has_pages() -> None:
    assert len(pages()) > 70
    assert sum(len(page.links) for page in pages().values()) > 5_000


def test_every_link_leads_to_an_element() -> None:
    dead = []
    for name, page in pages().items():
        for address in page.links:
            if (target := _target(page, address)) is None:
                continue
            path, anchor = target
            if not (SITE / path).is_file() or (anchor and path in pages() and anchor not in pages()[path].anchors):
                dead.append(f"{name}: {address}")
    assert dead == []


def test_every_loaded_file_is_one_of_the_site() -> None:
    wrong = []
    for name, page in pages().items():
        for address in page.loaded:
            target = None if address.startswith("data:") else _target(page, address)
            if not address.startswith("data:") and (target is None or not (SITE / target[0]).is_file()):
                wrong.append(f"{name}: {address}")
    assert wrong == []


@pytest.mark.parametrize(
    "html",
    [
        '<img src="//host/a.png">',
        '<script>fetch("https://host/a")</script>',
        '<script type="module">import "https://host/a.js"</script>',
        '<form action="https://host/a"></form>',
        '<svg><image href="https://host/a"/></svg>',
        '<svg><use xlink:href="https://host/a#b"/></svg>',
        '<object data="https://host/a"></object>',
        '<link rel="stylesheet" href="https://host/a.css">',
        '<meta http-equiv="refresh" content="0;url=https://host/a">',
        '<base href="https://host/a">',
    ],
)
def test_each_way_to_load_from_another_host_is_found(tmp_path: Path, html: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(html)
    [address] = Page(path).loaded
    assert urlsplit(address).netloc == "host"


@pytest.mark.parametrize("suffix", ["css", "html"])
def test_no_style_loads_from_another_host(suffix: str) -> None:
    loading = re.compile(r"""(?:url\(\s*|@import\s+)["']?(?:https?:)?//[^\s"')]+""")
    files = sorted(SITE.rglob(f"*.{suffix}"))
    assert files
    assert [
        (path.name, loading.findall(path.read_text("utf-8")))
        for path in files
        if loading.search(path.read_text("utf-8"))
    ] == []


def test_every_page_is_in_the_navigation() -> None:
    shown = {
        target[0]
        for page in pages().values()
        for address in page.navigation
        if (target := _target(page, address)) and "#" not in address
    }
    assert sorted(set(pages()) - shown - _WITHOUT_NAVIGATION) == []
