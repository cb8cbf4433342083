"""A page in the browser: its width and colour scheme, its requests and messages, its faults, and its keyboard."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

#: The widths of a desktop and of a small telephone, in pixels.
DESKTOP, PHONE = 1280, 360
#: The values of ``prefers-color-scheme``.
LIGHT, DARK = "light", "dark"
_HEIGHT = 900
#: Runs axe over the elements of a selector. Nothing is loaded for it.
_RUN_AXE = """
const [selector, done] = arguments;
axe.run({include: [selector]}, {preload: false, rules: {"target-size": {enabled: true}}})
  .then(found => done(found), error => done({error: String(error)}));
"""
#: Returns each element of a selector with a colour of less than some contrast with the background below it. For ``text``,
#: the colour is that of its own texts; other elements are left out.
_PALE = """
const [selector, property, least] = arguments;
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
const remembered = new Map();
const rgba = colour => {
  if (!remembered.has(colour)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    remembered.set(colour, [...canvas.getImageData(0, 0, 1, 1).data]);
  }
  return remembered.get(colour);
};
const light = colour => {
  const parts = rgba(colour).map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const below = element => {
  for (let each = element; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor;
    if (rgba(colour)[3] === 255) return colour;
  }
  throw new Error("no background below " + element.outerHTML);
};
const isText = each => [...each.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
const found = [...document.querySelectorAll(selector)].filter(each => each.checkVisibility())
  .filter(each => property !== "text" || isText(each));
const pale = found.flatMap(each => {
  const kind = property !== "text" ? property : each instanceof SVGElement ? "fill" : "color";
  const [a, b] = [light(getComputedStyle(each)[kind]), light(below(each))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return contrast < least ? [`${contrast.toFixed(2)}: ${each.outerHTML.slice(0, 200)}`] : [];
});
return [found.length, pale];
"""
#: Returns the focused element; null if no element has the focus.
_FOCUSED = """
const element = document.activeElement;
return element === document.body ? null : element;
"""


class Page:
    """The page that a browser shows."""

    def __init__(self, driver: webdriver.Remote, axe: str = "") -> None:
        self.driver = driver
        self._axe = axe
        self._address = ""

    def open(self, path: Path, width: int = DESKTOP, scheme: str = LIGHT) -> None:
        """Show a file in a window of this width, for a person who prefers light or dark pages."""
        self._emulate(width, scheme)
        self._log("performance")
        self._log("browser")
        self._address = path.as_uri()
        self.driver.get(self._address)

    def change(self, width: int, scheme: str) -> None:
        """Change the width of the window and the preferred colours; the page stays."""
        self._emulate(width, scheme)

    def run(self, script: str, *arguments: Any) -> Any:
        """Return the value that a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def requests(self) -> list[str]:
        """Return the address of each request since the page was opened, without the page's own."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        sent = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
        assert self._address in sent, "the log of requests does not have the page"
        return [address for address in sent if address != self._address]

    def messages(self) -> list[str]:
        """Return the warnings and errors of the console, among them each breach of the page's content policy."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] in {"WARNING", "SEVERE"}]

    def faults(self, selector: str = "html") -> list[str]:
        """Return the faults that axe finds below ``selector``: the rule, the element and the reason of each."""
        if not self.run("return 'axe' in window"):
            self.run(self._axe)
        found = self.driver.execute_async_script(_RUN_AXE, selector)
        assert "error" not in found, found["error"]
        assert found["passes"], "axe has checked nothing"
        # Axe cannot tell the contrast of short texts, drawings, and texts that scroll; :meth:`pale` tells it.
        unknown = [rule for rule in found["incomplete"] if rule["id"] != "color-contrast"]
        faults = [(rule["id"], node) for rule in (*found["violations"], *unknown) for node in rule["nodes"]]
        return [f"{rule}: {' '.join(node['failureSummary'].split())}: {node['html'][:200]}" for rule, node in faults]

    def pale(self, selector: str, colour: str = "text", least: float = 4.5) -> list[str]:
        """Return the visible elements with a lower contrast than ``least`` between a colour and the background.

        Args:
            selector: of the elements.
            colour: a property such as ``borderLeftColor``, or ``text`` for elements with a text of their own.
            least: the lowest contrast.
        """
        number, pale = self.run(_PALE, selector, colour, least)
        assert number, f"the page has no {selector}"
        return list(pale)

    def overflow(self) -> int:
        """Return the number of pixels that the page is wider than its window."""
        root = "const root = document.documentElement;"
        return int(self.run(f"{root} return Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth"))

    def stops(self, most: int = 500) -> Iterator[Any]:
        """Yield each element that the Tab key reaches, while it has the focus."""
        self.run("document.activeElement.blur(); window.scrollTo(0, 0)")
        found: set[Any] = set()
        while len(found) < most:
            self.press(Keys.TAB)
            element = self.run(_FOCUSED)
            if element is None or element in found:
                return
            found.add(element)
            yield element
        raise AssertionError(f"more than {most} elements take the focus")

    def press(self, key: str) -> None:
        """Press a key at the focused element."""
        ActionChains(self.driver, duration=0).send_keys(key).perform()

    def picture(self, end: str, scale: float = 1) -> bytes:
        """Return a picture of the page as PNG, from its top to the end of the first element of the selector ``end``."""
        bottom = "document.querySelector(arguments[0]).getBoundingClientRect().bottom + window.scrollY"
        width, height = self.run(f"return [window.innerWidth, {bottom}]", end)
        self._command("Emulation.setScrollbarsHidden", {"hidden": True})
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        shot = self._command("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        return base64.b64decode(shot["data"])

    def _emulate(self, width: int, scheme: str) -> None:
        size = {"width": width, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": width == PHONE}
        self._command("Emulation.setDeviceMetricsOverride", size)
        preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._command("Emulation.setEmulatedMedia", preferred)

    def _command(self, name: str, parameters: dict[str, Any]) -> Any:
        return self.driver.execute("executeCdpCommand", {"cmd": name, "params": parameters})["value"]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.driver.execute("getLog", {"type": kind})["value"])
