"""Participants that the doctor examines: settings over one shared folder, homes with keys, and published cards."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from syft_flwr._messaging.trust import Trust
from syft_flwr._store.peers import Peers
from syft_flwr.config import Settings, load_settings
from syft_flwr.doctor.examination import examine, findings_of
from syft_flwr.doctor.findings import Finding
from syft_flwr.doctor.subject import Subject
from syft_flwr.doctor.table import CHECKS
from syft_flwr.fl_orchestrator.participant import Participant, open_participant

AGGREGATOR, OWNER, OTHER = "ds@research.org", "data@hospital-a.org", "data@hospital-b.org"
APP = "trial"


class Examined:
    """A federation over one folder, in which each participant can be started for a moment, and examined.

    Args:
        folder: for the shared folder and the homes.
        environ: further variables, also in place of others.
    """

    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.environ = environ or {}
        (folder / "shared" / "datasites").mkdir(parents=True)

    def settings(self, email: str = AGGREGATOR, **arguments: Any) -> Settings:
        environ = {
            "SYFTBOX_EMAIL": email,
            "SYFTBOX_FOLDER": str(self.folder / "shared"),
            "SYFT_FLWR_HOME": str(self.folder / "homes"),
            "HOME": str(self.folder),
            **self.environ,
        }
        chosen = {"app_name": APP, "aggregator": AGGREGATOR, "datasites": [OWNER, OTHER], **arguments}
        return load_settings(environ=environ, **chosen)

    def home(self, email: str = AGGREGATOR) -> Path:
        return self.folder / "homes" / email

    def datasite(self, email: str) -> Path:
        return self.folder / "shared" / "datasites" / email

    def lose_home(self, email: str) -> None:
        shutil.rmtree(self.home(email))

    @contextmanager
    def participant(self, email: str) -> Iterator[tuple[Participant, Trust]]:
        """Open a participant with its keys."""
        participant = open_participant(self.settings(email), live=False)
        with closing(participant.transport), participant.open_trust() as trust:
            yield participant, trust

    def start(self, *emails: str) -> None:
        """Let participants publish their keys, as their first start does."""
        for email in emails:
            with self.participant(email) as (participant, trust):
                trust.publish(participant.names(APP), readers=[AGGREGATOR, OWNER, OTHER])

    def meet(self, email: str, *peers: str) -> None:
        """Let a participant pin the keys of its peers."""
        with self.participant(email) as (_, trust):
            for peer in peers:
                trust.identity_of(peer)

    def subject(self, email: str = AGGREGATOR, **arguments: Any) -> Subject:
        return Subject(self.settings(email, **arguments))

    def examine(self, email: str = AGGREGATOR, *, offline: bool = True, **arguments: Any) -> list[Finding]:
        """Make all checks that need no other program."""
        subject = self.subject(email, **arguments)
        try:
            return examine(subject, offline=offline)
        finally:
            subject.close()

    def check(self, name: str, email: str = AGGREGATOR, **arguments: Any) -> list[Finding]:
        """Make one check."""
        return check(name, self.subject(email, **arguments))

    def peers(self, email: str) -> Peers:
        return Peers(self.home(email) / "peers.db")


def check(name: str, subject: Subject) -> list[Finding]:
    """Make one check of a subject, and close the subject."""
    (row,) = [each for each in CHECKS if each.name == name]
    try:
        return findings_of(row, subject)
    finally:
        subject.close()


def only_problem(found: list[Finding]) -> Finding:
    """Return the single problem of some findings."""
    bad = [finding for finding in found if finding.state == "problem"]
    assert len(bad) == 1, found
    return bad[0]


def wrong_waits(found: Iterable[Finding]) -> list[Finding]:
    """Return the skipped findings that wait for a check that is not there, or that found all in order."""
    worst = states(found)
    return [each for each in found if each.waits_for and worst.get(each.waits_for, "ok") == "ok"]


def states(found: Iterable[Finding]) -> dict[str, str]:
    """Return the worst state of each check."""
    order = ("ok", "skipped", "unknown", "problem")
    worst: dict[str, str] = {}
    for finding in found:
        worst[finding.check] = max(worst.get(finding.check, "ok"), finding.state, key=order.index)
    return worst
