"""The content of a display and its HTML: the rows of a view, short and inert texts."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from syft_flwr.runs.html import panel_html
from syft_flwr.runs.panel import Panel, panel_of
from syft_flwr.runs.peer_view import COLUMNS, PeerView
from syft_flwr.runs.view import RunView

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\x1b]0;title\x07\x1b[31m\u202e[red]'\" onclick=&amp;\r\n"
PEER = PeerView("do@x.org", "datasite", "online", NOW, "works on train", NOW, 3, 1, 1, "app-raised: why", 5, 7)


def view(peer: PeerView = PEER, **changed: object) -> RunView:
    """Return the view of a run in its second round."""
    metrics = {"train": {"1": {"loss": 0.5}}}
    known = RunView(
        "7", "app", "aggregator", "ds@x.org", "running", "", NOW, NOW, NOW, "2", 3,
        ("do@x.org",), NOW, None, "", (peer,), metrics,
    )  # fmt: skip
    return replace(known, **changed)  # type: ignore[arg-type]


class Elements(HTMLParser):
    """Collects the elements and the texts of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_panel_has_the_texts_of_the_view() -> None:
    known = view()
    panel = panel_of(known)

    assert panel.lines == (known.headline(), known.wait(), *known.failures(), known.latest_metrics())
    assert known.failures()
    assert (panel.columns, panel.rows[0].cells) == (COLUMNS, PEER.as_row(NOW))
    assert (panel.round, panel.rows[0].state, panel.rows[0].mood) == (
        "round 2 of 3",
        "online, 1 failed: app-raised: why",
        "running",
    )


@pytest.mark.parametrize(
    ("doing", "work"),
    [
        ("train: 3 of 10 parts of the reply arrived (1 MB of 5 MB)", "train"),
        ("works on train", "works on train"),
        ("idle", "idle"),
    ],
)
def test_progress_of_a_transfer_is_no_change_of_work(doing: str, work: str) -> None:
    assert panel_of(view(replace(PEER, doing=doing))).rows[0].work == work


def test_silent_data_owner_is_marked() -> None:
    assert panel_of(view(replace(PEER, presence="silent"))).rows[0].mood == "silent"
    assert panel_of(view(replace(PEER, presence="", since=None), state="completed")).rows[0].mood == ""


def hostile_panel() -> Panel:
    """Return the panel of a run in which each text of a peer is hostile and long."""
    text = HOSTILE * 1000
    peer = replace(PEER, email=text, doing=text, last_failure=text, presence=text)
    many = {f"{n}{HOSTILE}": text for n in range(1000)}
    return panel_of(view(peer, cause=text, state=text, metrics={text: {text: many}}, awaited=(text,), round=text))


def test_texts_of_peers_are_short_and_visible() -> None:
    panel = hostile_panel()
    cells = [*panel.rows[0].cells, panel.rows[0].state, panel.rows[0].work]

    assert all(text.isprintable() for text in (*panel.lines, panel.round, *cells))
    assert max(map(len, panel.lines)) <= 400
    assert max(map(len, cells)) <= 80


def test_notebook_shows_the_urgent_participants_first() -> None:
    peers = [replace(PEER, email=f"{n}@y.org", presence="online", since=None) for n in range(1_000)]
    late = replace(PEER, email="late@y.org", presence="silent")
    panel = panel_of(view(peers=(*peers, late)))

    shown = panel_html(panel, 50)
    assert len(shown) < 50_000
    assert "late@y.org" in shown
    assert "951 more participants without room in this notebook" in shown
    assert panel_html(panel).count("<tr>") == 1_002


def test_texts_of_peers_are_no_html() -> None:
    found = Elements(panel_html(hostile_panel()))

    assert found.tags == {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert found.attributes == {"style"}
    assert "<script>alert(1)</script>" in "".join(found.texts)
    assert not re.search(r"[\x00-\x1f\u202e]", "".join(found.texts))
