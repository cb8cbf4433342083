"""Pages of the documentation site in a browser: readable at each width, light and dark, from the disk, with a search."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="make browser-test installs selenium")

from browserkit.page import DARK, DESKTOP, LIGHT, PHONE
from waiting import eventually

_SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
_PAGES = (
    "docs/index",
    "docs/how-to/checkpoints",
    "docs/cli",
    "docs/configuration",
    "docs/design",
    "docs/reference/api/package",
    "examples/diabetes/ds",
)

#: Leaves three rows of each table and three entries of each list: axe takes minutes for all, and they are alike.
_CUT = """
document.querySelectorAll("tbody, .bd-article ul, .bd-article dl, .bd-toc ul").forEach(
  each => each.replaceChildren(...[...each.children].slice(0, 4)));
"""
_DRAWN = "return document.querySelectorAll('.diagram svg').length"
#: The views that axe checks.
_CHECKED = {(DESKTOP, LIGHT), (PHONE, DARK)}

every_page = pytest.mark.parametrize("name", _PAGES)
every_view = pytest.mark.parametrize(
    ("width", "scheme"), [(width, scheme) for width in (DESKTOP, PHONE) for scheme in (LIGHT, DARK)]
)


@every_view
@every_page
def test_page_of_the_site_is_readable(window: Any, name: str, width: int, scheme: str) -> None:
    path = _SITE / f"{name}.html"
    assert path.exists(), "make docs builds the site"
    window.open(path, width, scheme)
    eventually(lambda: window.run("return document.documentElement.dataset.theme") == scheme, "colours of the page")
    if window.run("return document.querySelectorAll('div.mermaid').length"):
        eventually(lambda: window.run(_DRAWN), "a diagram")
    assert window.overflow() <= 0
    if (width, scheme) in _CHECKED:
        window.run(_CUT)
        # The theme's search button, above this part, has a name other than its text.
        # Sphinx writes the lines of a long signature as definitions without terms.
        assert [fault for fault in window.faults("main") if not fault.startswith("definition-list: ")] == []
    assert [address for address in window.requests() if not address.startswith((_SITE.as_uri(), "data:"))] == []


@pytest.mark.parametrize("words", ["msg_timeout", "worker-died", "syft_flwr.open_run"])
def test_search_finds_an_entry_without_a_network(window: Any, words: str) -> None:
    window.open(_SITE / "search.html", DESKTOP, LIGHT)
    window.driver.get(f"{(_SITE / 'search.html').as_uri()}?q={words}")
    links = "return [...document.querySelectorAll('ul.search li a')].map(each => each.href)"
    found = eventually(lambda: window.run(links), f"results for {words}")
    assert any("#" in address for address in found)


_WIDE_TABLES = """
return [...document.querySelectorAll(".bd-article table")]
  .filter(table => table.scrollWidth > table.parentElement.clientWidth + 1).map(table => table.tHead.innerText)"""


@pytest.mark.parametrize(
    "name",
    [
        "docs/configuration",
        "docs/cli",
        "docs/coming-from/flower",
        "docs/explanation/firewall",
        "docs/explanation/waiting",
        "docs/troubleshooting",
    ],
)
def test_table_shows_its_last_column_without_scrolling(window: Any, name: str) -> None:
    window.open(_SITE / f"{name}.html", DESKTOP, LIGHT)
    assert window.run("return document.querySelectorAll('.bd-article table').length") > 1
    assert window.run(_WIDE_TABLES) == []


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("run waits", "docs/explanation/waiting"),
        ("firewall", "docs/explanation/firewall"),
        ("move key", "docs/how-to/backup"),
        ("add hospital", "docs/how-to/several-hospitals"),
    ],
)
def test_search_shows_the_page_for_users_first(window: Any, words: str, page: str) -> None:
    window.driver.get(f"{(_SITE / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
    links = "return [...document.querySelectorAll('ul.search li a')].map(each => each.href)"
    found = eventually(lambda: window.run(links), f"results for {words}")
    assert any(f"{page}.html" in address for address in found[:3])
