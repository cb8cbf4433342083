"""The page of a report: the outcome first, then metrics, timeline, data owners, failures, warnings and the configuration."""

import base64
import hashlib
from functools import cache
from importlib import resources

from syft_flwr.report.facts import Facts
from syft_flwr.report.markup import element, shown
from syft_flwr.report.metric_lines import metric_lines_of
from syft_flwr.report.numbers import moment_text, span_text
from syft_flwr.report.outcome_part import outcome_part, tiles
from syft_flwr.report.parts import PagePart, parts_of
from syft_flwr.software import __version__
from syft_flwr.text import role_word

#: The begin of each report, by which a later one knows a file that it may replace.
BEGIN = "<!doctype html><html lang=en><meta charset=utf-8><meta name=generator content=syft-flwr-report>"


def page(facts: Facts) -> str:
    """Return the report of a run as one HTML document without scripts and without references to other files."""
    style = _style()
    metrics = metric_lines_of(facts)
    parts = parts_of(facts, metrics)
    run = facts.run
    title = f"{run.app}, run {run.id}"
    return "".join(
        (
            BEGIN,
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{_hash(style)}'\">",
            f"<title>{shown(title)}: {shown(facts.state)}</title><style>{style}</style>",
            _header(facts, parts),
            "<main>",
            element("section", outcome_part(facts, metrics) + tiles(facts), aria_label="Outcome"),
            *(_section(part) for part in parts),
            "</main>",
            _footer(facts),
            "</html>\n",
        )
    )


def _header(facts: Facts, parts: list[PagePart]) -> str:
    run, view = facts.run, facts.view
    place = f", local run {run.local}" if run.local and run.run_id else ""
    aggregator = facts.history.account.aggregator
    known = [
        f"Run {run.id}{place}",
        f"{role_word(run.role)} {run.participant}",
        f"aggregator {aggregator}" if aggregator and not facts.is_aggregator else "",
        f"started {moment_text(view.started)}" if view.started else "",
        _span(facts),
    ]
    facts_line = " · ".join(f"<span>{shown(text)}</span>" for text in known if text)
    links = "".join(f'<li><a href="#{part.name}">{shown(part.title)}</a>' for part in parts)
    return (
        "<header><p class=over>Report of a run</p>"
        f'<div class=title><h1>{shown(run.app)}</h1><span class="pill {facts.mood}">{shown(facts.state)}</span></div>'
        f"<p class=facts>{facts_line}</p>"
        f'<nav aria-label="Parts of this report"><ul>{links}</ul></nav></header>'
    )


def _span(facts: Facts) -> str:
    if facts.seconds is None:
        return ""
    return f"{span_text(facts.seconds)} so far" if facts.view.is_open else f"took {span_text(facts.seconds)}"


def _section(part: PagePart) -> str:
    heading = f'<h2 id="{part.name}-title">{shown(part.title)}</h2>'
    return f'<section id="{part.name}" aria-labelledby="{part.name}-title">{heading}{part.content}</section>'


def _footer(facts: Facts) -> str:
    updated = facts.view.updated
    last = f" The last event is of {moment_text(updated)}; the report" if updated else " The report"
    text = f"{last} shows the run at {moment_text(facts.view.now)}."
    whose = f"Written by syft-flwr {__version__} from the record of {facts.run.participant}."
    return f"<footer><p>{shown(whose + text)}</footer>"


@cache
def _style() -> str:
    return resources.files("syft_flwr.report").joinpath("style.css").read_text(encoding="utf-8")


def _hash(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
