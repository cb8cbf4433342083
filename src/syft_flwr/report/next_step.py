"""The next step of the reader of a report: that of the run, or else one about the most frequent failure."""

import re
from collections import Counter

from syft_flwr.report.facts import Facts
from syft_flwr.runs.history import RecordedRequest

#: Reasons of failures at a data owner that sent nothing.
_ABSENT = ("no-answer", "no-key")
_REFERENCE = re.compile(r"[0-9a-zA-Z-]{1,40}")


def next_step_of(facts: Facts) -> str:
    """Return the next step in one line, with commands between backquotes; empty if there is none."""
    view = facts.view
    if step := view.next_step():
        return step
    if view.state == "running":
        return f"Follow it with `syft-flwr status {view.run} --watch`. This page does not change."
    if view.state == "stopped" and facts.is_aggregator and not facts.run.local:
        return "The next start of `syft-flwr server` begins a new run."
    if view.state == "failed" and "ServerApp" in view.cause:
        return "Read the traceback in the output of the aggregator's process."
    failed = facts.failed
    if not failed:
        return ""
    reason, _ = Counter(request.reason for request in failed).most_common(1)[0]
    return _about(facts, next(request for request in reversed(failed) if request.reason == reason))


def _about(facts: Facts, failed: RecordedRequest) -> str:
    run, owner = facts.run, failed.peer
    if not facts.is_aggregator:
        return f"Read the log of this data owner: `syft-flwr logs {run.id}{_option(facts, run.participant)}`."
    if failed.reason in _ABSENT:
        return f"Ask {owner} whether its client runs: `syft-flwr client`. `syft-flwr doctor` looks for the cause."
    if run.local:
        return f"Read the log of the data owner: `syft-flwr logs {run.id}{_option(facts, owner)}`."
    reference = facts.details.request(failed.message).reference
    # The data owner chose it, so it must be no text that looks like an advice.
    if not _REFERENCE.fullmatch(reference):
        return ""
    return f"Ask {owner} for the lines with {reference} in its log: `syft-flwr logs {run.id}`."


def _option(facts: Facts, email: str) -> str:
    return f" --email {email}" if facts.run.local else ""
