"""The first part of a report: how the run ended and why, each kind of failure, and the next step."""

from collections import defaultdict
from collections.abc import Sequence

from syft_flwr.report.facts import Facts
from syft_flwr.report.markup import element, shown, told
from syft_flwr.report.metric_lines import MetricLines, is_number
from syft_flwr.report.next_step import next_step_of
from syft_flwr.report.numbers import moment_text, span_text
from syft_flwr.runs.events import STOPPED
from syft_flwr.runs.history import RecordedRequest
from syft_flwr.runs.local_run import INTERRUPTED
from syft_flwr.runs.peer_view import SILENT
from syft_flwr.text import counted, shortened, size

#: Kinds of failures in the first part; the table of failures has all.
_MOST = 5
#: Characters of the name of a data owner, and of the text of a failure. The table of failures has all of them.
_MOST_NAME, _MOST_TEXT = 80, 300
#: Rounds that a kind of failure names.
_MOST_ROUNDS = 6


def outcome_part(facts: Facts, metrics: Sequence[MetricLines]) -> str:
    """Return the outcome in words."""
    lines = [element("p", element("strong", shown(_sentence(facts))))]
    if cause := facts.view.cause:
        lines.append(element("p", f"<strong>Cause.</strong> {shown(told(cause))}"))
    if resumed := max(facts.run.resumed, facts.history.account.resumed):
        lines.append(element("p", shown(_resumed(facts, resumed))))
    lines += [_failures(facts), _open(facts)]
    if facts.problem:
        text = f"A part of the record cannot be read, so this report is not complete: {facts.problem}"
        lines.append(element("p", shown(text)))
    elif not facts.has_record:
        text = "The record of this run is missing or damaged, so rounds, replies and metrics are not known."
        lines.append(element("p", shown(text)))
    lines.append(_odd_metrics(metrics))
    wait = facts.view.wait()
    # A reader cannot tell how old the page is.
    wait = f"At {moment_text(facts.view.now)}: {wait}" if wait else ""
    lines += [element("p", shown(told(text))) for text in (wait, facts.view.warning()) if text]
    if step := next_step_of(facts):
        lines.append(element("p", f"<strong>Next step.</strong> {_with_code(step)}"))
    return element("div", "".join(lines), class_=f"outcome {facts.mood}")


def tiles(facts: Facts) -> str:
    """Return the most important numbers; empty without a record."""
    if not facts.has_record:
        return ""
    account = facts.history.account
    total = f" of {account.total_rounds}" if account.total_rounds else ""
    found = [("Round", f"{account.round}{total}")] if account.round else []
    found.append(("Good replies", f"{account.answered:,} of {account.asked:,}"))
    found.append(("Failed requests", f"{len(facts.failed):,}"))
    if facts.is_aggregator:
        owners = account.owners.values()
        sent, received = (sum(getattr(each, name) for each in owners) for name in ("bytes_sent", "bytes_received"))
        found.append(("Data owners", f"{len(owners):,}"))
    else:
        sent, received = account.bytes_sent, account.bytes_received
    found += [("Sent" if facts.is_aggregator else "Bytes that left", size(sent)), ("Received", size(received))]
    if account.warnings:
        found.append(("Warnings", f"{account.warnings:,}"))
    return element(
        "dl", "".join(f"<div><dt>{shown(name)}<dd>{shown(text)}</div>" for name, text in found), class_="tiles"
    )


def _sentence(facts: Facts) -> str:
    view = facts.view
    after = f" after {span_text(facts.seconds)}" if facts.seconds is not None else ""
    where = f" in {view.round_text()}" if view.round_text() else ""
    last = f" Its last event came{after}." if after else ""
    count = len(facts.failed)
    end = ", but counts as a failure" if view.refusal else f", with {counted(count, 'failed request')}" if count else ""
    sentences = {
        "completed": f"The run was completed{after}{end}.",
        "failed": f"The run failed{after}{where}.",
        "stopped": f"The run was stopped{after}{where}.",
        INTERRUPTED: f"The run was interrupted{where}: it has no end, and no process serves it.{last}",
        SILENT: f"The run stands still{where}: its process wrote no event for {view.silence()}.",
    }
    first = f": this report shows its first {span_text(facts.seconds)}" if facts.seconds is not None else ""
    so_far = f"The run is not over{first}{where}."
    return sentences.get(view.state, so_far)


def _resumed(facts: Facts, resumed: int) -> str:
    times = "once" if resumed == 1 else f"{resumed:,} times"
    if not facts.is_aggregator:
        return f"It was resumed {times} after a restart."
    return (
        f"It was resumed {times} after a restart. Counts, metrics and rounds are those since the last resume, "
        "in which the app runs from its beginning."
    )


def _failures(facts: Facts) -> str:
    """Return a line for each data owner, kind and reason, with the text of the latest failure."""
    groups: dict[tuple[str, str, str], list[RecordedRequest]] = defaultdict(list)
    for request in facts.failed:
        owner = request.peer if facts.is_aggregator else facts.run.participant
        groups[owner, request.kind, request.reason or "unknown"].append(request)
    lines = []
    for (owner, kind, reason), requests in sorted(groups.items(), key=lambda group: -len(group[1]))[:_MOST]:
        head = f"{shortened(owner, _MOST_NAME)}: {counted(len(requests), f'{kind} request')} failed{_rounds([each.round for each in requests])}, {reason}"
        text = shortened(told(requests[-1].text), _MOST_TEXT)
        if reference := facts.details.request(requests[-1].message).reference:
            text += f" (more at {shortened(reference, _MOST_NAME)} in the log of the data owner)"
        lines.append(f"<li><strong>{shown(head)}</strong>{shown(text)}")
    if len(groups) > _MOST:
        lines.append(f"<li>{shown(f'{len(groups) - _MOST:,} more kinds of failures are in the table of failures.')}")
    return element("ul", "".join(lines)) if lines else ""


def _open(facts: Facts) -> str:
    """Return the requests without a reply at the end of a run; empty for a run that is open, and at a data owner."""
    if facts.view.is_open or not facts.is_aggregator:
        return ""
    open_ = [request for request in facts.requests if request.outcome == "" or request.reason == STOPPED]
    if not open_:
        return ""
    owners = list(dict.fromkeys(request.peer for request in open_))
    more = f" and {len(owners) - _MOST} more" if len(owners) > _MOST else ""
    named = ", ".join(shortened(owner, _MOST_NAME) for owner in owners[:_MOST])
    rounds = _rounds([request.round for request in open_])
    text = f"{counted(len(open_), 'request')} had no reply at the end{rounds}: {named}{more}."
    return element("p", shown(text))


def _rounds(names: Sequence[str]) -> str:
    """Return rounds in words, as ``in rounds 1 to 5``; empty if none is known."""
    known = list(dict.fromkeys(name for name in names if name))
    if not known:
        return ""
    outside = "" if all(names) else ", and outside of rounds"
    numbers = sorted(int(name) for name in known if is_number(name))
    if len(numbers) == len(known) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f" in rounds {numbers[0]} to {numbers[-1]}{outside}"
    more = ", …" if len(known) > _MOST_ROUNDS else ""
    return f" in round{'s' if len(known) > 1 else ''} {', '.join(known[:_MOST_ROUNDS])}{more}{outside}"


def _odd_metrics(metrics: Sequence[MetricLines]) -> str:
    """Return the metrics with values that are no finite numbers; empty without any."""
    odd = [(lines.title, names) for lines in metrics if (names := lines.odd_rounds())]
    if not odd:
        return ""
    named = "; ".join(f"{shortened(title, _MOST_NAME)}{_rounds(names)}" for title, names in odd[:_MOST])
    more = f"; and {counted(len(odd) - _MOST, 'more metric')}" if len(odd) > _MOST else ""
    return element("p", f"<strong>No finite numbers.</strong> {shown(named + more)}.")


def _with_code(text: str) -> str:
    """Return a text with the parts between backquotes as code."""
    pieces = text.split("`")
    return "".join(element("code", shown(piece)) if number % 2 else shown(piece) for number, piece in enumerate(pieces))
