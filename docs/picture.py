"""Draws a report for the README, in a headless Chromium.

``make picture`` runs ``make demo`` and then: docs/picture.py .demo/report.html docs/report.png
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

_TESTS = Path(__file__).parents[1] / "tests"
#: The picture has the page down to the end of this part, in a window of this width, with two points for each pixel.
_END, _WIDTH, _SCALE = "#timeline .wide svg", 960, 2
#: A report has few colours. With a table of them, the file has a third of its size.
_COLOURS = 256


def draw(report: Path, picture: Path) -> None:
    """Write the picture of a report as PNG."""
    sys.path[:0] = [str(_TESTS / "browser"), str(_TESTS / "kits")]
    from browserkit.chromium import Chromium
    from browserkit.page import Page

    with tempfile.TemporaryDirectory() as folder, Chromium(Path(folder) / "b") as chromium:
        page = Page(chromium.driver)
        page.open(report.resolve(), _WIDTH)
        drawn = Image.open(io.BytesIO(page.picture(_END, _SCALE))).convert("RGB")
    drawn.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))
