"""The report of a run in a browser: readable for everyone, at each width, light and dark, without a network or a script."""

from typing import Any

import pytest

pytest.importorskip("selenium", reason="make browser-test installs selenium")

from browserkit.page import DARK, DESKTOP, LIGHT, PHONE
from browserkit.reports import HOSTILE, STATES, VIEWED
from selenium.webdriver.common.keys import Keys
from waiting import eventually

_OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"

#: Leaves five rows of each table. Returns the number of the rows before.
_CUT_TABLES = """
const bodies = [...document.querySelectorAll("tbody")];
const number = bodies.reduce((sum, each) => sum + each.rows.length, 0);
bodies.forEach(each => each.replaceChildren(...[...each.rows].slice(0, 5)));
return number;
"""
#: Adds elements to the page that load and run things. Returns the rules that refused them, within a few seconds.
_TRY_ALL = """
const done = arguments[0], refused = [];
document.addEventListener("securitypolicyviolation", event => {
  refused.push(event.effectiveDirective);
  if (refused.length === 6) done(refused);
});
const add = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
add("img", {src: "http://127.0.0.1:9/image"});
add("iframe", {src: "http://127.0.0.1:9/frame"});
add("script", {text: "window.ran = 1"});
add("style", {textContent: "body {display: none}"});
document.body.insertAdjacentHTML("beforeend", "<p onclick='window.ran = 1'>");
document.body.lastElementChild.click();
fetch("http://127.0.0.1:9/fetch").catch(() => {});
setTimeout(() => done(refused), 10_000);
"""

every_report = pytest.mark.parametrize("name", VIEWED)
every_view = pytest.mark.parametrize(
    ("width", "scheme"), [(width, scheme) for width in (DESKTOP, PHONE) for scheme in (LIGHT, DARK)]
)


@every_view
@every_report
def test_report_is_readable_in_each_view(window: Any, report: Any, name: str, width: int, scheme: str) -> None:
    window.open(report(name), width, scheme)
    assert window.overflow() <= 0
    window.run(_OPEN_ALL)
    assert window.overflow() <= 0
    assert window.faults() == []
    assert window.pale("body *") == []
    assert (window.requests(), window.messages()) == ([], [])


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_bars_of_the_timeline_can_be_told_from_the_page(window: Any, report: Any, scheme: str) -> None:
    window.open(report("good"), DESKTOP, scheme)
    assert window.pale("#timeline svg [fill^=var]:not(text)", "fill", 3) == []


@pytest.mark.parametrize("name", STATES)
def test_state_of_each_run_is_readable(window: Any, report: Any, name: str) -> None:
    window.open(report(name))
    assert window.run("return document.querySelector('h1 + .pill').textContent").startswith(name)
    for scheme in (LIGHT, DARK):
        window.change(PHONE, scheme)
        assert window.overflow() <= 0
        assert window.pale("body *") == []
        assert window.pale(".outcome", "borderLeftColor", 3) == []


def test_large_report_is_readable_on_a_phone(window: Any, report: Any) -> None:
    window.open(report("large"), PHONE, DARK)
    assert window.overflow() <= 0
    assert window.pale("body *") == []
    # Axe takes minutes for all rows, and they are alike.
    assert window.run(_CUT_TABLES) > 40_000
    assert window.faults() == []
    window.run(_OPEN_ALL)
    assert window.overflow() <= 0
    assert (window.requests(), window.messages()) == ([], [])


def test_every_part_can_be_reached_and_opened_by_keys(window: Any, report: Any) -> None:
    window.open(report("failed"), PHONE)
    assert len(window.run("return [...document.querySelectorAll('details:not([open])')]")) >= 3
    reached = set()
    for element in window.stops():
        reached.add(element)
        assert window.run("return getComputedStyle(arguments[0]).outlineStyle", element) == "solid", element.tag_name
        if window.run("return arguments[0].tagName === 'SUMMARY' && !arguments[0].parentElement.open", element):
            window.press(Keys.ENTER)
    assert window.run("return [...document.querySelectorAll('details:not([open])')]") == []
    shown = "[...document.querySelectorAll('a, summary, .scroll')].filter(each => each.checkVisibility())"
    assert len(window.run(f"return {shown}.filter(each => each.className)")) > 3
    assert set(window.run(f"return {shown}")) == reached


def test_wide_table_scrolls_by_keys(window: Any, report: Any) -> None:
    window.open(report("failed"), PHONE)
    window.run(_OPEN_ALL)
    wide = window.run(
        "return [...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth)"
    )
    assert wide
    for region in wide:
        window.run("arguments[0].focus({preventScroll: true})", region)
        window.press(Keys.ARROW_RIGHT)
        eventually(lambda region=region: window.run("return arguments[0].scrollLeft > 0", region), "the table scrolls")


def test_hostile_texts_are_shown_and_do_nothing(window: Any, report: Any) -> None:
    window.open(report("hostile"))
    window.run(_OPEN_ALL)
    assert [*window.stops()]
    assert window.run("return window.ran") is None
    assert window.run("return document.querySelectorAll('script, img, [onload], [onerror], [onfocus]').length") == 0
    text = window.run("return document.body.textContent")
    assert text.count(HOSTILE[:40]) > 10
    assert "\u202e" not in text
    assert (window.requests(), window.messages()) == ([], [])


def test_page_may_load_and_run_nothing(window: Any, report: Any) -> None:
    window.open(report("good"))
    refused = window.driver.execute_async_script(_TRY_ALL)
    assert set(refused) == {
        "img-src",
        "script-src-elem",
        "script-src-attr",
        "style-src-elem",
        "connect-src",
        "frame-src",
    }
    assert window.run("return window.ran") is None
    assert len(window.messages()) >= 6
