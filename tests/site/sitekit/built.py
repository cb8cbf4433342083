"""The built site: its pages with their links, anchors and loaded files, and its inventory of entries."""

import re
import zlib
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[3]
SITE = ROOT / "docs" / "_build" / "html"
_INVENTORY_LINES = 4
#: Attributes with an address that a browser loads, or to which it sends a form. A link is another thing.
_LOADING = ("src", "srcset", "poster", "data", "action", "formaction", "background", "xlink:href")
_HOST = re.compile(r"""["'`=(](?:https?:)?//[^\s"'`)]+""")


class Page(HTMLParser):
    """One HTML page.

    Attributes:
        anchors: the ids of its elements.
        links: the addresses of its links to follow.
        navigation: those of the links that are in its navigation.
        loaded: the addresses that a browser loads with the page, and those of other hosts in its scripts.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.navigation: set[str] = set()
        self.loaded: list[str] = []
        self._depth = 0
        self._is_script = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._depth += tag == "nav"
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
            if self._depth:
                self.navigation.add(values["href"])
        elif (tag == "link" and values.get("rel") not in {"next", "prev", "search", "index", "author"}) or (
            tag not in {"a", "area", "base", "link"} and "href" in values
        ):
            self.loaded.append(values["href"])
        elif tag == "base" or (tag == "meta" and values.get("http-equiv", "").lower() == "refresh"):
            self.loaded.append(values.get("href") or values.get("content", "").rpartition("=")[2])
        self.loaded += [values[name] for name in _LOADING if name in values and tag != "a"]
        self._is_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "nav"
        self._is_script = False

    def handle_data(self, data: str) -> None:
        if self._is_script:
            self.loaded += [found[1:] for found in _HOST.findall(data)]


@cache
def pages() -> dict[str, Page]:
    """Return all pages of the site by their path below its folder."""
    paths = (path for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts)
    return {path.relative_to(SITE).as_posix(): Page(path) for path in paths}


@cache
def entries() -> dict[tuple[str, str], str]:
    """Return the address of each entry of the inventory, by its kind and its name."""
    head, data = (SITE / "objects.inv").read_bytes(), b""
    for _ in range(_INVENTORY_LINES):
        _, _, head = head.partition(b"\n")
    data = zlib.decompress(head)
    found = {}
    for line in data.decode().splitlines():
        # A name can have spaces: the kind is the last word with a colon before the priority.
        left, priority, address, _ = _fields(line)
        name, _, kind = left.rpartition(" ")
        found[kind, name] = address.replace("$", name) if address.endswith("$") else address
        assert priority.lstrip("-").isdigit(), line
    return found


def _fields(line: str) -> tuple[str, str, str, str]:
    words = line.split(" ")
    at = next(number for number, word in enumerate(words) if number and ":" in word and _is_number(words[number + 1]))
    return " ".join(words[: at + 1]), words[at + 1], words[at + 2], " ".join(words[at + 3 :])


def _is_number(word: str) -> bool:
    return word.lstrip("-").isdigit()
