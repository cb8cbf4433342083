"""The findings as rows of a table for a person: the checks that wait for the same thing share one row, at the end."""

from collections.abc import Iterator, Sequence

from syft_flwr.doctor.findings import Finding
from syft_flwr.text import counted


def rows_of(found: Sequence[Finding]) -> Iterator[tuple[str, str, str]]:
    """Yield a check, a state and a text for each row."""
    groups: dict[str, list[Finding]] = {}
    for finding in found:
        if finding.state == "skipped":
            groups.setdefault(finding.waits_for or finding.text, []).append(finding)
        else:
            yield finding.check, finding.state, finding.text
    for group in groups.values():
        yield _row_of(group)


def _row_of(group: Sequence[Finding]) -> tuple[str, str, str]:
    names = list(dict.fromkeys(finding.check for finding in group))
    texts = "; ".join(dict.fromkeys(finding.text for finding in group))
    cause = group[0].waits_for
    if len(names) == 1:
        return names[0], "skipped", f"waits for {cause}: {texts}" if cause else texts
    shown = ", ".join(names)
    return counted(len(names), "check"), "skipped", f"wait for {cause}: {shown}" if cause else f"{texts}: {shown}"
