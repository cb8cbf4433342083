"""The parts of a report below its outcome, without those about which the record says nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from syft_flwr.report import tables
from syft_flwr.report.facts import Facts
from syft_flwr.report.markup import Table, element, folded, pairs_html, shown, table_html
from syft_flwr.report.metric_chart import MIDDLE, RANGE, colour_of, dash_of, is_single, metric_chart
from syft_flwr.report.metric_lines import WHOLE, MetricLines
from syft_flwr.report.numbers import exact_text
from syft_flwr.report.record_details import MOST_NAMES
from syft_flwr.report.timeline import timeline_of
from syft_flwr.report.timeline_chart import WIDTHS, timeline_chart
from syft_flwr.runs.secrets_mask import masked_values
from syft_flwr.text import counted, shortened

#: Metrics with a chart, and rows of a timeline that is not folded.
_MOST_CHARTS = 12
_MOST_ROWS = 24
#: Rows of a timeline that are drawn. The time that a drawing takes grows faster than its rows.
_MOST_DRAWN = 1_000
#: Characters of the name of a data owner above its tables, which have all of them.
_MOST_NAME = 80
_PLACES = {
    "queue": "too many came at once",
    "record": "the file could not be written",
    "size": "removed, because the record was too large",
    "warnings": "warnings beyond the share of one participant; the log has them",
}


@dataclass(frozen=True, slots=True)
class PagePart:
    """One part of the page. ``content`` is HTML."""

    name: str
    title: str
    content: str


def parts_of(facts: Facts, metrics: Sequence[MetricLines]) -> list[PagePart]:
    """Return the parts in their order."""
    found = [
        PagePart("metrics", "Metrics", _metrics(facts, metrics)),
        PagePart("timeline", "Timeline", _timeline(facts)),
        PagePart("data-owners", "Data owners", _table(tables.owners_table(facts)) if facts.is_aggregator else ""),
        PagePart("requests", "Requests", _requests(facts)),
        PagePart("failures", "Failures", _table(tables.failures_table(facts))),
        PagePart("refused", "Refused files", _refused(facts)),
        PagePart("warnings", "Warnings", _warnings(facts)),
        PagePart("configuration", "Configuration", _configuration(facts)),
        PagePart("software", "Versions and keys", _software(facts)),
        PagePart("record", "The record", _record(facts)),
    ]
    return [part for part in found if part.content]


def _table(table: Table) -> str:
    return table_html(table) if table.rows else ""


def _metrics(facts: Facts, lines: Sequence[MetricLines]) -> str:
    if not lines:
        return ""
    drawn = [each for each in lines if each.is_drawable][:_MOST_CHARTS]
    owners = facts.owners
    figures = "".join(_metric_figure(each, owners) for each in drawn)
    others = [each for each in lines if each not in drawn]
    note = element("p", shown(_metrics_note(facts, len(lines))), class_="note")
    more = ""
    if others:
        known = "".join(table_html(each.table()) for each in others)
        more = folded(f"{counted(len(others), 'more metric')} without a chart", known)
    return f"{note}{_metric_legend(drawn, owners)}{element('div', figures, class_='charts')}{more}"


def _metrics_note(facts: Facts, number: int) -> str:
    if facts.is_aggregator:
        text = "The values that the strategy aggregated, and those in the replies of the data owners."
        if missing := facts.details.left_out:
            text += f" A data owner has too many names of metrics: {counted(missing, 'value')} with further names are only in the CSV."
        return text
    text = "The values in the replies that left this data owner."
    return f"{text} Those of further names are only in the table of requests." if number >= MOST_NAMES else text


def _metric_figure(lines: MetricLines, owners: list[str]) -> str:
    latest, number = lines.latest
    value = f"<span>round {shown(number)} <b>{shown(latest)}</b></span>" if latest else ""
    return (
        f'<figure><figcaption class="head"><h3>{shown(lines.title)}</h3>{value}</figcaption>'
        f"{metric_chart(lines, owners)}{folded('Values', table_html(lines.table()))}</figure>"
    )


def _metric_legend(drawn: list[MetricLines], owners: list[str]) -> str:
    named = {owner for lines in drawn for owner in lines.owners}
    entries = [(WHOLE, "")] if "" in named else []
    if is_single(owners):
        entries += [(owner, owner) for owner in owners if owner in named]
    marks = [(_stroke(owner, owners), name) for name, owner in entries]
    if not is_single(owners) and named - {""}:
        marks += [(_swatch(MIDDLE), "middle half of the data owners"), (_swatch(RANGE), "lowest to highest data owner")]
    return _legend(marks)


def _stroke(owner: str, owners: list[str]) -> str:
    dashes = " ".join(map(str, dash_of(owner, owners)))
    dash = f' stroke-dasharray="{dashes}"' if dashes != "1 0" else ""
    width = 2 if owner else 3
    line = f'<line x2="26" y1="5" y2="5" stroke="{colour_of(owner, owners)}" stroke-width="{width}"{dash}/>'
    return f'<svg aria-hidden="true" width="26" height="10">{line}</svg>'


def _legend(entries: list[tuple[str, str]]) -> str:
    return element("ul", "".join(f"<li>{mark}{shown(name)}" for mark, name in entries), class_="legend")


def _timeline(facts: Facts) -> str:
    timeline = timeline_of(facts)
    if not timeline.rows:
        return ""
    first, others = timeline.rows[:_MOST_ROWS], timeline.rows[_MOST_ROWS:_MOST_DRAWN]
    who = "data owner" if facts.is_aggregator else "kind of request"
    if timeline.is_summed:
        text = f"The sums of all requests by {who}, the longest first."
    else:
        text = f"Each bar is one request, from its begin to its end, after the begin of the first one. There is a row for each {who}."
    if facts.is_aggregator:
        text += " Clocks of machines differ, so both directions are one part; the place of a part in its bar is not the time at which it happened."
    if timeline.replayed:
        text += f" {_kept_replies(timeline.replayed)} not shown here."
    if (missing := len(timeline.rows) - _MOST_DRAWN) > 0:
        text += f" The table has {missing:,} more."
    title = "Seconds by data owner and phase" if facts.is_aggregator else "Seconds by kind and phase"
    sums = tables.phases_table(facts, title, "Data owner" if facts.is_aggregator else "Kind")
    charts = "".join(_sized(timeline_chart(timeline, width, first), width) for width in WIDTHS)
    more = ""
    if others:
        rest = "".join(_sized(timeline_chart(timeline, width, others), width) for width in WIDTHS)
        more = folded(counted(len(others), f"more {'data owner' if facts.is_aggregator else 'kind'}"), rest)
    legend = _legend([(_swatch(f"var(--{phase.name})"), phase.label) for phase in timeline.phases])
    caption = f"<figcaption>{shown(text)}</figcaption>"
    return f"<figure>{caption}{legend}{charts}{more}{folded('Values', table_html(sums))}</figure>"


def _kept_replies(number: int) -> str:
    return "A reply of an earlier process is" if number == 1 else f"{number:,} replies of an earlier process are"


def _sized(chart: str, width: str) -> str:
    return f'<div class="{width}">{chart}</div>'


def _swatch(colour: str) -> str:
    return f'<svg aria-hidden="true" width="12" height="12"><rect width="12" height="12" rx="2" fill="{colour}"/></svg>'


def _requests(facts: Facts) -> str:
    rounds = _table(tables.rounds_table(facts))
    if kept := sum(request.replayed for request in facts.requests):
        note = f"{_kept_replies(kept)} counted here, without the seconds of that process."
        rounds = element("p", shown(note), class_="note") + rounds
    if not facts.is_aggregator:
        return _table(tables.received_table(facts)) + rounds
    by_owner: dict[str, list[str]] = defaultdict(list)
    counts = Counter(request.peer for request in facts.requests)
    for owner, table in tables.request_tables(facts):
        by_owner[owner].append(table_html(table))
    folds = "".join(
        folded(f"{shortened(owner, _MOST_NAME)}: {counted(counts[owner], 'request')}", "".join(parts))
        for owner, parts in by_owner.items()
    )
    return rounds + folds


def _refused(facts: Facts) -> str:
    table = _table(tables.refusals_table(facts))
    missing = facts.details.refused - len(facts.details.refusals)
    return table + (element("p", f"{missing:,} more are in the record.", class_="note") if missing else "")


def _warnings(facts: Facts) -> str:
    shown_number, number = len(facts.history.warnings), facts.history.account.warnings
    note = f"The latest {shown_number:,} of {number:,} warnings." if number > shown_number else ""
    return (element("p", note, class_="note") if note else "") + _table(tables.warnings_table(facts))


def _configuration(facts: Facts) -> str:
    found = []
    for title, values in (("Run configuration", facts.details.run_config), ("Settings", facts.history.settings)):
        if values:
            # Those of an earlier release are not masked in the record.
            pairs = [(str(name), exact_text(value)) for name, value in masked_values(values).items()]
            found.append(pairs_html(title, pairs))
    if kept := facts.details.kept_keys:
        pairs = [(owner, ", ".join(keys)) for owner, keys in sorted(kept.items())]
        found.append(pairs_html("Keys of the run configuration that a data owner keeps", pairs))
    return "".join(found)


def _software(facts: Facts) -> str:
    found = []
    for title, values in (("Versions", facts.details.versions), ("Fingerprints of keys", facts.details.fingerprints)):
        if values:
            found.append(pairs_html(title, [(str(name), str(value)) for name, value in values.items()]))
    return "".join(found)


def _record(facts: Facts) -> str:
    run = facts.run
    lines = []
    if facts.has_record and not facts.details.has_begin:
        text = "The begin of the record is missing, so this report counts only the events since then."
        lines.append(element("p", element("strong", text)))
    if lost := sum(facts.details.lost.values()):
        text = (
            f"The record is not complete: {counted(lost, 'event')} were lost, so parts of this report can be missing."
        )
        lines.append(element("p", element("strong", shown(text))))
        pairs = [(_PLACES.get(place, place), f"{count:,}") for place, count in facts.details.lost.items()]
        lines.append(pairs_html("Lost events", pairs))
    elif facts.details.gaps:
        are = "is" if facts.details.gaps == 1 else "are"
        text = f"{counted(facts.details.gaps, 'line')} of the record {are} missing, so parts of this report can be missing."
        lines.append(element("p", element("strong", shown(text))))
    elif facts.has_record and run.ended and not facts.history.account.has_ended:
        # Its disk was full or damaged, or another process recorded the end in the database.
        text = "The record has no end of the run, so the last events before it can be missing."
        lines.append(element("p", element("strong", text)))
    elif facts.has_record and facts.details.has_begin and not facts.problem:
        lines.append(element("p", "The record is complete: no lost event is known."))
    named = (
        ("Record", run.paths.record if run.run_id else None),
        ("Metrics, CSV", run.paths.metrics_csv),
        ("Metrics, JSON Lines", run.paths.metrics_jsonl),
        ("Log", run.paths.log),
        ("Output", run.paths.output),
    )
    lines.append(
        pairs_html("Files on the machine of the participant", [(name, str(path)) for name, path in named if path])
    )
    return "".join(lines)
