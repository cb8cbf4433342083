"""Checks the clock of this machine against the clocks at hand: Google's, those of the peers, and its own earlier time."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from syft_flwr._messaging.wire.heartbeat import Role
from syft_flwr.clock import SKEW
from syft_flwr.doctor.blocked import BlockedError
from syft_flwr.doctor.findings import Finding, ok, problem, unknown
from syft_flwr.doctor.peer_files import peer_files_of
from syft_flwr.doctor.subject import Subject
from syft_flwr.errors import StoreError, SyftFlwrError

_SET = "Set the clock of this machine, and let it follow a time server: timedatectl set-ntp true"
_ROLES: tuple[Role, ...] = ("aggregator", "data-owner")


def check_clock(subject: Subject) -> Iterator[Finding]:
    """Find a clock that differs from another one by more than messages tolerate."""
    subject.email  # noqa: B018 - raises BlockedError
    compared = []
    for name, text, advice in (*_own_past(subject), *_drive(subject), *_peers(subject)):
        if text:
            yield problem(text, advice)
        else:
            compared.append(name)
    if compared:
        yield ok(f"the clock agrees with {', '.join(compared)}")
    else:
        yield unknown("there is no other clock to compare the clock of this machine with")


#: The clock that was compared, the text of a problem (empty if there is none), and the advice.
_Compared = tuple[str, str, str]


def _own_past(subject: Subject) -> Iterator[_Compared]:
    """Compare with the last start here, of which the number of the session tells the time."""
    try:
        app = subject.app
        with closing(subject.peers_database()) as database:
            rows = [database.last_session(app.app, role) for role in _ROLES] if app else []
    except (BlockedError, StoreError):
        return
    numbers = [row.session for row in rows if row]
    if not numbers:
        return
    last = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=max(numbers))
    text = ""
    if last - subject.clock.now() > SKEW:
        text = f"the clock of this machine is before the time of its own last start ({last:%Y-%m-%d %H:%M} UTC)"
    yield "the time of the last start here", text, _SET


def _drive(subject: Subject) -> Iterator[_Compared]:
    try:
        times = subject.drive().times if subject.known.transport == "p2p" else None
    except (BlockedError, SyftFlwrError):
        return
    if times is None:
        return
    theirs, ours = times
    text = ""
    if abs(theirs - ours) > SKEW:
        text = f"the clock of this machine is {_distance(ours - theirs)} Google's clock"
    yield "Google's clock", text, _SET


def _peers(subject: Subject) -> Iterator[_Compared]:
    try:
        found = peer_files_of(subject)
    except (BlockedError, SyftFlwrError):
        return
    now = subject.clock.now()
    for contact in found:
        if contact.heartbeat is None:
            continue
        text = ""
        # An old heartbeat can be that of a client that ended. One from the future cannot.
        if contact.heartbeat.written - now > SKEW:
            late = _distance(now - contact.heartbeat.written)
            text = f"the clock of this machine is {late} the clock of {contact.email}"
        yield f"the heartbeat of {contact.email}", text, f"{_SET}. If it is right, ask {contact.email} to do that"


def _distance(difference: timedelta) -> str:
    minutes = abs(difference) / timedelta(minutes=1)
    amount = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
    return f"{amount} {'ahead of' if difference > timedelta() else 'behind'}"
