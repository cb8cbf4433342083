"""The view of a run at one moment: its round, its participants and its wait, for the status and the live display.

All texts of these are made here, so that a table in a terminal, a notebook and JSON say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from syft_flwr._store.states import RunState
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.local_run import INTERRUPTED
from syft_flwr.runs.outcome import Loss, shown_losses, shown_state
from syft_flwr.runs.peer_view import (
    SILENT,
    PeerView,
    aggregator_view,
    iso_moment,
    owner_view,
    seconds_since,
)
from syft_flwr.text import counted, duration, role_word, shortened

#: Seconds without an event after which a served run is silent. A living process writes a beat every 5 seconds.
SILENT_AFTER = 15.0
#: Characters of a warning in the status; its full text is in the log.
_MOST_WARNING = 500
#: The limits of a wait, in words.
_LIMITS = {
    "ttl": "the lifetime of the request",
    "timeout": "the timeout of the call",
    "round_timeout": "round_timeout",
    "msg_timeout": "msg_timeout, the longest silence",
    "min_replies": "min_replies, the wait for the last replies",
}
#: Data owners with a failure that is shown as a line.
_MOST_FAILURES = 3
#: The next step of the user, by state. ``{start}`` is the command of the participant.
_NEXT_STEPS = {
    INTERRUPTED: "Its process has ended without an end of the run. Start `{start}` again to continue the run.",
    SILENT: "Its process stands still, or its disk is full. Continue a stopped process with `kill -CONT`.",
}
_START = {"aggregator": "syft-flwr server", "datasite": "syft-flwr client"}


@dataclass(frozen=True, slots=True)
class RunView:
    """A run at one participant at the time ``now``."""

    run: str
    app: str
    #: ``aggregator`` or ``datasite``.
    role: str
    participant: str
    #: ``running``, ``silent``, ``interrupted``, ``completed``, ``failed`` or ``stopped``.
    state: str
    cause: str
    now: datetime
    started: datetime | None
    #: The time of the last event; at most 5 seconds old as long as the process lives.
    updated: datetime | None
    round: str
    total_rounds: int
    #: The data owners that the aggregator waits for, since when, and the next end of the wait with its limit.
    awaited: tuple[str, ...]
    awaited_since: datetime | None
    until: datetime | None
    limit: str
    peers: tuple[PeerView, ...]
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    #: The number of warnings and errors in the log so far, and the latest one with its time.
    warnings: int = 0
    last_warning: str = ""
    warned: datetime | None = None
    #: When the run ended; None before that, or if only the database knows it.
    ended: datetime | None = None
    #: At an aggregator, the failed requests, counted by data owner, kind and reason.
    losses: tuple[Loss, ...] = ()
    #: Whether all participants run on this machine, and whether the run has a log of its own.
    is_local: bool = False
    has_log: bool = False
    #: The part of the record that cannot be read, or a problem of this machine, with the reason; empty without one.
    problem: str = ""
    #: Before a request, the data owners that are online, the number that the strategy needs, and since when it waits.
    nodes_online: int = 0
    nodes_needed: int = 0
    nodes_awaited_since: datetime | None = None

    def headline(self) -> str:
        """Return the state, the round and the run in one line."""
        local = f"{self.app}, {role_word(self.role)} {self.participant}".strip()
        parts = filter(None, (self._state_and_time(), self.round_text()))
        why = self.cause or (f"losses: {shown_losses(self.losses)}" if self.losses and not self.is_open else "")
        cause = f" ({why})" if why else ""
        return f"Run {self.run} of {local}: {', '.join(parts)}{cause}"

    def round_text(self) -> str:
        """Return the round as ``round 2 of 5``, or as ``round 2`` if the number of rounds is not known; empty before it."""
        total = f" of {self.total_rounds}" if self.total_rounds else ""
        return f"round {self.round}{total}" if self.round else ""

    def silence(self) -> str:
        """Return the time since the last event, for people."""
        return duration(seconds_since(self.updated, self.now))

    def _state_and_time(self) -> str:
        if self.state == SILENT:
            return f"{SILENT} for {self.silence()}"
        if self.is_open:
            return f"{self.state} for {duration(seconds_since(self.started, self.now))}" if self.started else self.state
        shown, end = shown_state(self.state, self.losses, self.refusal), self.ended or self.updated
        if not self.started or not end:
            return shown
        return f"{shown} after {duration(seconds_since(self.started, end))}, at {end.astimezone():%Y-%m-%d %H:%M:%S}"

    @property
    def refusal(self) -> str:
        """Return why a completed run is no success; empty for any other run."""
        return self.cause if self.state == RunState.COMPLETED else ""

    @property
    def is_open(self) -> bool:
        """Return whether a process serves the run."""
        return self.state in ("running", SILENT)

    def wait(self) -> str:
        """Return the awaited data owners, since when, and the end of the wait; empty if the run waits for none."""
        if self.is_open and self.nodes_awaited_since:
            since = duration(seconds_since(self.nodes_awaited_since, self.now))
            return f"Waits for clients for {since}: {self.nodes_online} of {self.nodes_needed} needed data owners online; no limit ends this wait"
        if self.is_open and not self.peers and not self.problem:
            return "No request was sent yet"
        if not self.awaited or not self.is_open:
            return ""
        names = self.awaited[0] if len(self.awaited) == 1 else f"{len(self.awaited)} data owners"
        since = f" for {duration(seconds_since(self.awaited_since, self.now))}" if self.awaited_since else ""
        if self.until is None or self.state == SILENT:
            # A process that stands still ends no wait.
            return f"Waits for {names}{since}"
        rest = f"ends in {duration(-seconds_since(self.until, self.now))}" if self.until > self.now else "ends now"
        return f"Waits for {names}{since}; the wait {rest} ({_LIMITS.get(self.limit, self.limit)})"

    def warning(self) -> str:
        """Return the problem and the latest warning of a run without an end, in one line; empty without both."""
        return ". ".join(filter(None, (self.problem, self._latest_warning())))

    def _latest_warning(self) -> str:
        if not self.last_warning or not (self.is_open or self.state == INTERRUPTED):
            return ""
        text = shortened(" ".join(self.last_warning.split()), _MOST_WARNING)
        return f"{counted(self.warnings, 'warning')}, the latest {duration(seconds_since(self.warned, self.now))} ago: {text}"

    def failures(self) -> tuple[str, ...]:
        """Return the latest failure of some data owners, a line each, without one that :meth:`warning` tells."""
        told = self.warning()
        failed = [peer for peer in self.peers if peer.last_failure and peer.last_failure not in told]
        more = (
            [f"{len(failed) - _MOST_FAILURES} more participants have failures"] if len(failed) > _MOST_FAILURES else []
        )
        way = "to" if self.role == "aggregator" else "of"
        shown = [
            f"{counted(peer.failed, 'request')} {way} {peer.email} failed, the latest: "
            f"{shortened(peer.last_failure, _MOST_WARNING)}"
            for peer in failed[:_MOST_FAILURES]
        ]
        return (*shown, *more)

    def notes(self) -> tuple[str, ...]:
        """Return the failures and the next step, a line each."""
        return tuple(filter(None, (*self.failures(), self.next_step())))

    def next_step(self) -> str:
        """Return the next step of the user in one line; empty if there is none."""
        if self.state == INTERRUPTED and self.is_local:
            return "Its process has ended without an end of the run. A local run cannot be continued: start it again."
        if self.state == RunState.FAILED or self.refusal:
            return f"Read its log: `syft-flwr logs {self.run}{self._place_of_log()}`." if self.has_log else ""
        if known := _NEXT_STEPS.get(self.state):
            return known.format(start=_START.get(self.role, "the participant"))
        if self.is_open and self.nodes_awaited_since:
            return "Ask the users of the missing data owners whether `syft-flwr client` runs there."
        silent = [peer.email for peer in self.peers if self.is_open and peer.presence == SILENT]
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        process = "syft-flwr client" if self.role == "aggregator" else "syft-flwr server"
        return f"No heartbeat of {silent[0]}{more}: ask its user whether `{process}` runs there." if silent else ""

    def _place_of_log(self) -> str:
        """Return the option for the log with the cause: in a local run, that of the participant that the cause names."""
        named = [peer.email for peer in self.peers if peer.email in self.cause]
        email = self.participant if self.role == "datasite" else named[0] if named else ""
        return f" --email {email}" if email and self.is_local else ""

    def latest_metrics(self) -> str:
        """Return the metrics of the latest round of each source in one line; empty without any."""
        shown = []
        for source, by_round in self.metrics.items():
            if by_round:
                number, values = list(by_round.items())[-1]
                pairs = ", ".join(f"{name} {_value(value)}" for name, value in values.items())
                shown.append(f"{source} (round {number}): {pairs}")
        return "; ".join(shown)

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON. Ids are strings, because they are larger than the safe integers of JSON."""
        return {
            "run-id": self.run,
            "app": self.app,
            "role": role_word(self.role),
            "participant": self.participant,
            "state": self.state,
            "succeeded": self.state == RunState.COMPLETED and not self.refusal,
            "cause": self.cause or None,
            "losses": [loss.as_fields() for loss in self.losses],
            "time": iso_moment(self.now),
            "started": iso_moment(self.started),
            "updated": iso_moment(self.updated),
            "ended": iso_moment(self.ended),
            "round": self.round or None,
            "total-rounds": self.total_rounds or None,
            "awaited": list(self.awaited),
            "awaited-since": iso_moment(self.awaited_since),
            "nodes-online": self.nodes_online if self.nodes_awaited_since else None,
            "nodes-needed": self.nodes_needed if self.nodes_awaited_since else None,
            "wait-ends": iso_moment(self.until),
            "limit": self.limit or None,
            "participants": [peer.as_fields() for peer in self.peers],
            "metrics": self.metrics,
            "warnings": self.warnings,
            "last-warning": self.last_warning or None,
            "warned": iso_moment(self.warned),
            "problem": self.problem or None,
            "next-step": self.next_step() or None,
        }


def state_now(state: str, updated: datetime | None, now: datetime) -> str:
    """Return the state of a run that a process serves: :data:`SILENT` if it is running, but wrote no event for long."""
    return SILENT if state == "running" and updated and seconds_since(updated, now) > SILENT_AFTER else state


def view_of(
    account: RunAccount,
    now: datetime,
    *,
    run: str,
    app: str,
    participant: str,
    state: str = "",
    cause: str = "",
    is_served: bool = True,
) -> RunView:
    """Return the view of a run.

    Args:
        account: the sum of its events so far.
        now: the present time, aware.
        run: its name for commands.
        app: the name of its app.
        participant: the email of the participant that recorded it.
        state: the recorded state, if the database has one; by default that of the account.
        cause: the recorded cause of the end, for people.
        is_served: whether a process serves it.
    """
    known = state or account.state or "running"
    known = INTERRUPTED if known == "running" and not is_served else state_now(known, account.updated, now)
    is_open = known in ("running", SILENT)
    is_limited = is_open and account.knows_wait
    peers = (
        tuple(owner_view(email, account, now, is_open=is_open) for email in sorted(account.owners))
        if account.role == "aggregator"
        else (aggregator_view(account, now, is_open=is_open),)
        if account.role
        else ()
    )
    return RunView(
        run=run,
        app=app,
        role=account.role,
        participant=participant,
        state=known,
        cause=cause or account.cause,
        now=now,
        started=account.started,
        updated=account.updated,
        round=account.round,
        total_rounds=account.total_rounds,
        awaited=account.awaited if is_open else (),
        awaited_since=account.awaited_since if is_open else None,
        until=account.until if is_limited else None,
        limit=account.limit if is_limited else "",
        peers=peers,
        nodes_online=account.nodes_online,
        nodes_needed=account.nodes_needed,
        nodes_awaited_since=account.nodes_awaited_since if is_open else None,
        metrics=account.metrics,
        warnings=account.warnings,
        last_warning=account.last_warning,
        warned=account.warned,
        ended=account.ended,
        losses=account.losses,
    )


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
