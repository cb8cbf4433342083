"""The findings of ``syft-flwr doctor`` at a participant of a federation, while a fault holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from examined import wrong_waits
from recordkit.expected import OWNER

from syft_flwr.clock import Clock
from syft_flwr.config import Settings
from syft_flwr.doctor import home_checks, syftbox_checks
from syft_flwr.doctor.examination import examine
from syft_flwr.doctor.findings import Finding
from syft_flwr.doctor.subject import Subject
from syft_flwr.errors import SyftFlwrError
from syft_flwr.transport.base import Transport

#: Seconds in which an emulated client that runs takes over a probe file: some of its cycles.
PROBE = 3.0
#: Seconds for which a database must be locked.
LOCKED = 0.5


@dataclass(frozen=True)
class Found:
    """A finding that a row of the table expects: its check, its state, and a part of its text or of its fix."""

    check: str
    part: str
    state: str = "problem"
    #: Whether it is found each time. Otherwise it depends on the moment.
    always: bool = True

    def fits(self, finding: Finding) -> bool:
        is_same = (finding.check, finding.state) == (self.check, self.state)
        return is_same and self.part in finding.diagnose()


#: No check finds a problem.
WELL: Sequence[Found] = ()
ALL_WELL = (WELL, WELL)
#: The data owner has no heartbeat: its client has ended, or was never started.
NO_CLIENT: Sequence[Found] = (Found("peers-running", f"the client of {OWNER} does not run: it has no heartbeat"),)
#: The run of the row has ended, and the client with it, or the client was never started.
CLIENT_GONE = (NO_CLIENT, WELL)


class SceneSubject(Subject):
    """A participant of a federation in this process, which reads the transport of the test."""

    def __init__(
        self,
        settings: Settings | None,
        clock: Clock,
        transport: Transport | None,
        project: Path | None,
        error: SyftFlwrError | None,
    ) -> None:
        super().__init__(settings, project, error, clock)
        self._given = transport

    def storage(self) -> Transport:
        return self._given or super().storage()


def findings_at(
    settings: Settings | None,
    clock: Clock,
    transport: Transport | None,
    project: Path | None = None,
    error: SyftFlwrError | None = None,
    probe: float = PROBE,
) -> list[Finding]:
    """Make all checks of the doctor. Without a project, no check starts a process.

    Args:
        settings: the settings of the participant; None if they cannot be read.
        clock: its clock.
        transport: the transport of the test; by default that of the settings.
        project: the folder of the project.
        error: why the settings cannot be read.
        probe: seconds in which a SyftBox client must take over a probe file.
    """
    subject = SceneSubject(settings, clock, transport, project, error)
    try:
        # The emulated client takes over a file much sooner than the real one.
        with (
            patch.multiple(syftbox_checks, _PATIENCE=probe, _SHORT=probe),
            patch.object(home_checks, "_TRANSACTION", LOCKED),
        ):
            return examine(subject)
    finally:
        subject.close()


def difference(expected: Sequence[Found], findings: Sequence[Finding]) -> str:
    """Return an expected finding that is missing, or a problem that is not expected; empty if there is none."""
    if any(finding.check == "syftbox-space" and finding.state == "problem" for finding in findings):
        # On a small disk, no emulated client shows that it runs.
        expected = [each for each in expected if not each.check.startswith("syftbox-")]
        findings = [finding for finding in findings if not finding.check.startswith("syftbox-")]
    for each in expected:
        if each.always and not any(each.fits(finding) for finding in findings):
            return f"no {each} in " + "\n".join(map(str, findings))
    for finding in findings:
        if finding.state == "problem" and not any(each.fits(finding) for each in expected):
            return f"not expected: {finding}"
        if finding.state == "problem" and not finding.fix:
            return f"without a fix: {finding}"
    for finding in wrong_waits(findings):
        return f"waits for a check that found all in order: {finding}"
    return ""
