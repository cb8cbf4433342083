"""The tables of a report. They are complete: each request of the record has a row."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from syft_flwr.report.facts import Facts
from syft_flwr.report.markup import Table, told
from syft_flwr.report.numbers import clock_text, milliseconds_text, moment_text, seconds_by, seconds_text, value_text
from syft_flwr.report.record_details import NO_ROUND
from syft_flwr.report.timeline import PHASES
from syft_flwr.runs.history import RecordedRequest
from syft_flwr.text import size

#: Characters of the digest of a request; its file has all of it.
_DIGEST = 16


def rounds_table(facts: Facts) -> Table:
    """Return each round with its begin, seconds and counts."""
    rows = [
        [
            each.number,
            moment_text(each.started),
            seconds_text(each.seconds),
            f"{each.answered:,} of {each.asked:,}",
            str(each.failed),
        ]
        for each in facts.history.rounds
    ]
    if rows and (outside := [each for each in facts.requests if not each.round]):
        good = sum(each.outcome == "answered" for each in outside)
        failed = sum(each.has_failed for each in outside)
        rows.append([NO_ROUND, moment_text(outside[0].started), "", f"{good:,} of {len(outside):,}", str(failed)])
    return Table("Rounds", ("Round", "Started", "Seconds", "Good replies", "Failed"), rows, texts=2)


def owners_table(facts: Facts) -> Table:
    """Return each data owner with its counts and bytes."""
    rows = [
        [
            owner,
            f"{counts.answered:,} of {counts.asked:,}",
            str(counts.failed),
            size(counts.bytes_sent),
            size(counts.bytes_received),
            moment_text(counts.last_seen),
        ]
        for owner, counts in sorted(facts.history.account.owners.items())
    ]
    columns = ("Data owner", "Good replies", "Failed", "Sent to it", "Received from it", "Last heartbeat or reply")
    return Table("Data owners", columns, rows)


def phases_table(facts: Facts, title: str, names: str) -> Table:
    """Return the seconds of each phase, summed by data owner; at a data owner, by kind."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: dict[str, int] = defaultdict(int)
    for request in facts.requests:
        if not request.replayed:
            name = request.peer if facts.is_aggregator else request.kind
            counts[name] += 1
            for phase, seconds in _phases(facts, request):
                sums[name][phase] += seconds
    columns = _phase_columns(facts)
    rows = [
        [name, f"{counts[name]:,}", *(seconds_text(sums[name][label]) for label in columns)] for name in sorted(counts)
    ]
    return Table(title, (names, "Requests", *map(_heading, columns)), rows)


def request_tables(facts: Facts) -> Iterable[tuple[str, Table]]:
    """Yield the requests of an aggregator, a table for each data owner and kind, with the data owner."""
    groups: dict[tuple[str, str], list[RecordedRequest]] = defaultdict(list)
    for request in facts.requests:
        groups[request.peer, request.kind].append(request)
    columns = _phase_columns(facts)
    for (owner, kind), requests in sorted(groups.items()):
        rows = [
            [
                each.round,
                _result(each),
                *_seconds(facts, each, columns),
                _bytes(each.bytes_request),
                _bytes(each.bytes_reply),
            ]
            for each in requests
        ]
        heads = ("Round", "Result", *map(_heading, columns), "Bytes sent", "Bytes received")
        yield owner, Table(f"{kind} requests to {owner}, milliseconds by phase", heads, rows, texts=2)


def received_table(facts: Facts) -> Table:
    """Return the requests that a data owner received, with what left."""
    columns = _phase_columns(facts)
    rows = []
    for each in facts.requests:
        details = facts.details.request(each.message)
        rows.append(
            [
                clock_text(each.started),
                each.kind,
                each.round,
                _result(each) or "answered",
                ", ".join(details.records),
                ", ".join(f"{name} {value_text(value)}" for name, value in each.metrics.items()),
                _bytes(each.bytes_reply),
                _bytes(each.bytes_request),
                *_seconds(facts, each, columns),
                str(details.attempts or ""),
                details.digest[:_DIGEST],
            ]
        )
    heads = ("Received, UTC", "Kind", "Round", "Result", "Records that left", "Metrics that left", "Bytes that left")
    more = ("Bytes received", *map(_heading, columns), "Attempts", "Digest of the request")
    return Table("Requests and the replies that left, milliseconds by phase", (*heads, *more), rows, texts=6)


def failures_table(facts: Facts) -> Table:
    """Return each failed request with its reason and its text."""
    rows = []
    for each in facts.failed:
        owner = each.peer if facts.is_aggregator else facts.run.participant
        reference = facts.details.request(each.message).reference
        rows.append([owner, each.kind, each.round, each.reason or "unknown", reference, told(each.text)])
    columns = ("Data owner", "Kind", "Round", "Reason", "Reference in its log", "Text")
    return Table("Failed requests", columns, rows, texts=9)


def warnings_table(facts: Facts) -> Table:
    """Return the latest warnings in the log."""
    rows = [[clock_text(each.time), each.level, told(each.text)] for each in facts.history.warnings]
    return Table("Warnings and errors in the log", ("Time, UTC", "Level", "Text"), rows, texts=9)


def refusals_table(facts: Facts) -> Table:
    """Return the files that a data owner refused."""
    rows = [
        [clock_text(each.time), each.sender, each.message, each.reason, told(each.text)]
        for each in facts.details.refusals
    ]
    return Table("Refused files", ("Time, UTC", "Sender", "File or message", "Reason", "Text"), rows, texts=9)


def _phase_columns(facts: Facts) -> list[str]:
    return list(dict.fromkeys(phase.label for phase in PHASES[facts.run.role]))


def _heading(label: str) -> str:
    return label[:1].upper() + label[1:]


def _phases(facts: Facts, request: RecordedRequest) -> Iterable[tuple[str, float]]:
    known = seconds_by(request.seconds)
    for phase in PHASES[facts.run.role]:
        yield phase.label, sum(known.get(key, 0.0) for key in phase.keys)


def _seconds(facts: Facts, request: RecordedRequest, columns: Sequence[str]) -> list[str]:
    sums = dict.fromkeys(columns, 0.0)
    for label, seconds in _phases(facts, request):
        sums[label] += seconds
    return [milliseconds_text(sums[label]) for label in columns]


def _result(request: RecordedRequest) -> str:
    """Return the result of a request, short for the most frequent one, because a large run has many rows."""
    if request.outcome == "answered":
        return "earlier" if request.replayed else ""
    return request.reason or ("unknown" if request.outcome else "open")


def _bytes(number: int) -> str:
    return str(number) if number else ""
