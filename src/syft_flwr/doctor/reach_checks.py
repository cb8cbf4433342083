"""Checks of the peers: the process of each one runs, a ping comes back, and both sides have the same releases."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr.clock import SKEW
from syft_flwr.doctor import encryption_check
from syft_flwr.doctor.blocked import PEERS, PEERS_RUNNING, SYFTBOX_CLIENT, BlockedError
from syft_flwr.doctor.children import EndedEarlyError, run_child
from syft_flwr.doctor.findings import Finding, ok, problem, skipped, unknown
from syft_flwr.doctor.key_checks import known_peers
from syft_flwr.doctor.peer_files import PeerFiles, peer_files_of
from syft_flwr.doctor.subject import Subject
from syft_flwr.doctor.syftbox_checks import syncs_nothing
from syft_flwr.errors import SyftFlwrError
from syft_flwr.software import SYFT_FLWR, flower
from syft_flwr.text import printable

_MODULE = "syft_flwr.doctor.ping_child"
#: Seconds to wait for the replies to a ping: over a transport that pushes files or needs no time, and over another one.
_PATIENCE, _MORE = 12.0, 40.0
#: The same for the start and the end of the child.
_OVERHEAD = 12.0
#: The age of a heartbeat up to which its writer runs.
_FRESH = 2 * HEARTBEAT_INTERVAL
_START_CLIENT = "Ask {} to start its client: syft-flwr client PROJECT"

#: The replies to a ping by email, or a text that tells why there are none.
_Pings = Mapping[str, Mapping[str, Any]] | str


def check_reach(subject: Subject) -> Iterator[Finding]:
    """Find peers that do not run, or do not reply to a ping."""
    contacts = peer_files_of(subject)
    pings = subject.shared(_ping)
    for contact in contacts:
        replied = pings.get(contact.email) if isinstance(pings, Mapping) else None
        if replied and "seconds" in replied:
            yield ok(f"{contact.email} replied to a ping after {float(replied['seconds']):.1f} s{_work(replied)}")
        elif cause := _cause_of(subject, contact):
            yield skipped(*cause)
        elif contact.unreadable:
            yield problem(
                f"a file of {contact.email} cannot be read: {printable(contact.unreadable, 300)}",
                f"Ask {contact.email} to start syft-flwr again, which writes the file again; then compare the keys: syft-flwr peers",
            )
        elif subject.is_aggregator:
            yield _of_owner(subject, contact, replied, pings if isinstance(pings, str) else "")
        else:
            yield _of_aggregator(subject, contact)


def _cause_of(subject: Subject, contact: PeerFiles) -> tuple[str, str] | None:
    """Return why nothing can be said about a peer, and the check that tells the cause; None if there is no such cause."""
    email, age = contact.email, _age(subject, contact)
    if contact.is_old and age is None:
        return f"{email} has no heartbeat that this release reads", "releases"
    with contextlib.suppress(BlockedError, SyftFlwrError):
        peer = known_peers(subject).get(email)
        if peer and peer.state in ("changed", "unreadable"):
            return f"no message is exchanged with {email}", PEERS
    if (age is None or age > _FRESH) and syncs_nothing(subject):
        return f"the files of {email} do not arrive", SYFTBOX_CLIENT
    return None


def _work(replied: Mapping[str, Any]) -> str:
    running = printable(str(replied.get("running", "")), 128)
    return f"; it works on {running}" if running else ""


def _of_owner(subject: Subject, contact: PeerFiles, replied: Mapping[str, Any] | None, why: str) -> Finding:
    email, age = contact.email, _age(subject, contact)
    if contact.card is None:
        return problem(
            f"no file of {email} has arrived here",
            f"{_START_CLIENT.format(email)}. If it runs, check the SyftBox clients or the Google accounts of both sides.",
        )
    if age is None:
        return problem(f"the client of {email} does not run: it has no heartbeat", _START_CLIENT.format(email))
    if age > _FRESH and not replied:
        text = f"the last heartbeat of {email} is {_shown(age)} old: its client does not run, or its clock is behind"
        is_old = age > _FRESH + SKEW.total_seconds()
        return problem(text, _START_CLIENT.format(email)) if is_old else unknown(text, _START_CLIENT.format(email))
    if age > _FRESH + SKEW.total_seconds():
        return problem(
            f"the client of {email} does not run: its last heartbeat is {_shown(age)} old", _START_CLIENT.format(email)
        )
    if replied:
        text = printable(str(replied.get("text", "")), 300)
        fix = f"Ask {email} whether its client accepts this aggregator and this app, and whether files travel in both directions."
        if replied.get("code") == Reason.ENCRYPTION:
            fix = encryption_check.advice(subject)
        return problem(f"{email} sent a heartbeat {_shown(age)} ago, but no reply to a ping: {text}", fix)
    return ok(f"{email} runs: its last heartbeat is {_shown(age)} old; no ping was sent ({why})")


def _of_aggregator(subject: Subject, contact: PeerFiles) -> Finding:
    email, age = contact.email, _age(subject, contact)
    if contact.card is None:
        return problem(
            f"no file of {email} has arrived here",
            f"Ask {email} to start its server once. If it runs, check the SyftBox clients or the Google accounts of both sides.",
        )
    if age is None or age > _FRESH + SKEW.total_seconds():
        return unknown(f"the server of {email} does not run now, so nothing can be said about the way to it")
    if age > _FRESH:
        return unknown(
            f"the last heartbeat of {email} is {_shown(age)} old: its server does not run, or its clock is behind"
        )
    return ok(f"files of {email} arrive: the last heartbeat of its server is {_shown(age)} old")


def _age(subject: Subject, contact: PeerFiles) -> float | None:
    if contact.heartbeat is None:
        return None
    return max(0.0, (subject.clock.now() - contact.heartbeat.written).total_seconds())


def _shown(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} minutes"
        if seconds < 7200
        else f"{seconds / 3600:.0f} hours"
    )


def check_versions(subject: Subject) -> Iterator[Finding]:
    """Find peers with another release, by their key cards and by their replies to a ping."""
    contacts = peer_files_of(subject)
    pings = subject.shared(_ping)
    for contact in contacts:
        replied = pings.get(contact.email, {}) if isinstance(pings, Mapping) else {}
        software = str(replied.get("software") or (contact.card.software if contact.card else ""))
        if not software and not contact.is_old and contact.card is None:
            cause = _cause_of(subject, contact)
            yield skipped(f"the release of {contact.email} is not known", cause[1] if cause else PEERS_RUNNING)
            continue
        yield _of_release(contact, printable(software, 64), printable(str(replied.get("flower", "")), 64))


def _of_release(contact: PeerFiles, software: str, its_flower: str) -> Finding:
    email = contact.email
    same = f"Install {SYFT_FLWR} and {flower()} at both sides, then start again."
    if contact.is_old or (contact.card and not contact.card.software):
        return problem(f"{email} runs an older release of syft-flwr, which does not read requests of this one", same)
    ours = [SYFT_FLWR, flower()] if its_flower else [SYFT_FLWR]
    theirs = [software, its_flower] if its_flower else [software]
    if theirs != ours:
        return unknown(f"{email} has {' and '.join(theirs)}; this machine has {' and '.join(ours)}", same)
    return ok(f"{email} has {' and '.join(theirs)}, as this machine")


def _ping(subject: Subject) -> _Pings:
    """Ping the data owners in a child, if this cannot disturb a run."""
    why = _why_not(subject)
    if why:
        return why
    lock = subject.lock_of("server")
    properties = subject.storage().properties
    patience = _PATIENCE if properties.pushed_size or not properties.delay else _MORE
    try:
        done = run_child(
            _MODULE,
            [str(subject.project), str(patience), str(lock)],
            patience + _OVERHEAD,
            is_unwanted=subject.ended.is_set,
        )
    except EndedEarlyError as error:
        return str(error)
    replies = done.get("replies")
    if not isinstance(replies, dict):
        return printable(str(done.get("refused", "no ping was possible")), 300)
    return {email: reply for email, reply in replies.items() if isinstance(reply, dict)}


def _why_not(subject: Subject) -> str:
    """Return why no ping may be sent now; empty if it may. A ping needs the place of the server of the app."""
    if not subject.is_aggregator:
        return "only an aggregator sends pings"
    if subject.project is None or not subject.is_of_environment:
        return "no project was named"
    if subject.is_served("server"):
        return "a server runs here, and shows its own view of the data owners, or another doctor pings them"
    if not (subject.home / "identity.key").exists():
        return "this participant has not been started yet"
    if all(contact.heartbeat is None for contact in peer_files_of(subject)):
        return "no data owner runs"
    return ""
