"""Makes the checks of the table, all at once, each with a time limit."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from time import monotonic

from syft_flwr.disk_errors import unusable
from syft_flwr.doctor.blocked import BlockedError
from syft_flwr.doctor.findings import Finding, ok, problem_of, skipped, unknown
from syft_flwr.doctor.subject import Subject
from syft_flwr.doctor.table import CHECKS, Check
from syft_flwr.errors import SyftFlwrError

#: Seconds of one wait.
_STEP = 0.5
#: Seconds in which the children of late checks end.
_LAST = 1.0


def examine(subject: Subject, *, offline: bool = False) -> list[Finding]:
    """Return the findings of all checks that apply to a participant, in the order of the table.

    A check that does not end within its limit is ``unknown``; its thread is left behind.

    Args:
        subject: the participant.
        offline: leave out the checks that wait for another program, service or participant.
    """
    subject.offline = offline
    checks = [check for check in CHECKS if _applies(check, subject)]
    results = {check.name: _start(check, subject) for check in checks if not (offline and check.is_slow)}
    try:
        return _collect(checks, results)
    finally:
        # After Ctrl-C, the children of the checks end too.
        subject.ended.set()
        wait_for(results.values(), _LAST)


def _collect(checks: Sequence[Check], results: Mapping[str, "Future[list[Finding]]"]) -> list[Finding]:
    found: list[Finding] = []
    spent = 0.0
    for check in checks:
        result = results.get(check.name)
        if result is None:
            found.append(skipped("left out by --offline").of(check.name))
            continue
        while not result.done() and spent < check.limit:
            before = monotonic()
            wait_for([result], min(_STEP, check.limit - spent))
            # The time for which this process was stopped does not count.
            spent += min(monotonic() - before, 2 * _STEP)
        found += result.result() if result.done() else [_late(check)]
    return found


def _applies(check: Check, subject: Subject) -> bool:
    if not check.transport:
        return True
    return subject.settings is not None and subject.settings.transport == check.transport


def _late(check: Check) -> Finding:
    text = f"the check did not end within {check.limit:.0f} s"
    return unknown(text, check.late or "Try again; the disk or the service may be busy.").of(check.name)


def _start(check: Check, subject: Subject) -> "Future[list[Finding]]":
    result: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            result.set_result(findings_of(check, subject))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            result.set_exception(error)

    threading.Thread(target=run, name=f"doctor {check.name}", daemon=True).start()
    return result


def findings_of(check: Check, subject: Subject) -> list[Finding]:
    """Make one check. An error of the disk or of this package is a problem; an ``ok`` beside it is left out."""
    found: list[Finding] = []
    try:
        for finding in check.run(subject):
            # One by one, so that a later error leaves the earlier findings.
            found.append(finding)  # noqa: PERF402
    except BlockedError as error:
        found.append(skipped(f"not checked: {error}", error.waits_for))
    except SyftFlwrError as error:
        found.append(problem_of(error))
    except OSError as error:
        found.append(problem_of(unusable(error)))
    is_good = all(finding.state == "ok" for finding in found)
    # A check yields its good result also after a problem, beside which it would mislead.
    kept = [finding for finding in found if is_good or not (check.hides_ok and finding.state == "ok")]
    return [finding.of(check.name) for finding in kept or [ok("no problem was found")]]
