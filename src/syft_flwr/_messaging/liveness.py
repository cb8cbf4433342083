"""Reads the heartbeats of peers, and dates them by the clock of this participant."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name, read_heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_HEARTBEAT
from syft_flwr._store.peers import HeardRow
from syft_flwr.clock import SKEW
from syft_flwr.errors import NotFoundError, StoreError, SyftFlwrError, TooLargeError, TransportError, UnknownPeerError
from syft_flwr.log import logger
from syft_flwr.log_once import LogOnce

#: Seconds after which a missing key of a peer with a heartbeat is a warning. The key can arrive later than the heartbeat.
_KEY_IS_LATE = 120.0
#: Seconds of waiting for a peer without a new heartbeat after which a person should look at it.
_PEER_IS_LATE = 120.0
_OLD = timedelta(seconds=2 * HEARTBEAT_INTERVAL)
#: Seconds after which a missing heartbeat means that its client ended, where a sync service can delete files. A client
#: that runs writes it again within one interval.
_GONE_AFTER = 1.5 * HEARTBEAT_INTERVAL
#: Seconds between two lines about the end of the client of one peer.
_TELL_AGAIN = 600.0
#: Seconds between two records of the heartbeats of one peer.
_RECORD_EVERY = 1.0

#: Returns the run that a peer served last and the time of its end; None if that run continues or is not known.
LastRun = Callable[[str], tuple[int, datetime] | None]


class Liveness:
    """Reads the heartbeats of peers in one role. :meth:`look` is used by one thread, the other methods by any thread."""

    def __init__(self, endpoint: Endpoint, role: Role, last_run: LastRun = lambda _: None) -> None:
        self._transport = endpoint.transport
        self._trust = endpoint.trust
        self._names = endpoint.names
        self._role: Role = role
        self._clock = endpoint.clock
        self._last_run = last_run
        #: The emails of the peers of which the last look failed, for example because the transport is not available.
        self._unreadable: set[str] = set()
        #: The peers without the file of a heartbeat, which a client deletes when it ends: by email, the monotonic time of
        #: the first look that missed it.
        self._absent: dict[str, float] = {}
        self._gone_after = _GONE_AFTER if endpoint.transport.properties.files_vanish else 0.0
        #: By email, the monotonic time before which no further end of its client in a wait is logged.
        self._told_ended: dict[str, float] = {}
        #: By email, the latest heartbeat and the monotonic time of its discovery; minus infinity if it was old by then.
        self._latest: dict[str, tuple[Heartbeat, float]] = {}
        #: The peers of which only one heartbeat was found. Its writer may have ended before, and left it.
        self._left: set[str] = set()
        #: By email, the last recorded heartbeat, and the monotonic time of its record. The row may be that of an earlier process.
        self._recorded: dict[str, tuple[HeardRow | None, float]] = {}
        #: By email, the monotonic time of the first heartbeat that arrived before the key of its peer.
        self._keyless: dict[str, float] = {}
        #: By email, the monotonic time since which a caller waits for a peer of which no new heartbeat was found.
        self._awaited: dict[str, float] = {}
        self._logged = LogOnce()

    def look(self, email: str) -> Heartbeat | None:
        """Return the heartbeat of a peer if it is newer than the last returned one; otherwise None.

        The first one must not be older than the last one of an earlier process.
        """
        name = heartbeat_name(self._names, self._role, email)
        self._unreadable.discard(email)
        try:
            data = self._transport.get(name, max_size=MAX_HEARTBEAT)
            self._absent.pop(email, None)
            peer = self._trust.identity_of(email)
            heartbeat = read_heartbeat(data, role=self._role, email=email, app=self._names.app, identity=peer)
            # A time far ahead would be recorded, and later hide that the peer started again with a lower session.
            heartbeat = replace(heartbeat, written=min(heartbeat.written, self._clock.now()))
            is_new = self._is_new(heartbeat)
        except NotFoundError:
            self.note_absent(email)
            self._look_for_an_older_release(email)
            return None
        except SyftFlwrError as error:
            if isinstance(error, TransportError | StoreError) and not isinstance(error, TooLargeError):
                self._unreadable.add(email)
            self._note_unusable(email, name, error)
            return None
        self._keyless.pop(email, None)
        if not is_new:
            return None
        if email in self._latest:
            self._left.discard(email)
        else:
            self._left.add(email)
        is_old = email not in self._latest and heartbeat.written < self._clock.now() - _OLD - SKEW
        self._latest[email] = (heartbeat, -math.inf if is_old else self._clock.monotonic())
        self._record(heartbeat)
        return heartbeat

    def note_absent(self, email: str) -> None:
        """Record that a peer has no file of a heartbeat now."""
        self._absent.setdefault(email, self._clock.monotonic())

    def _is_new(self, heartbeat: Heartbeat) -> bool:
        """Return whether no newer heartbeat of its writer was read; raise StoreError if that is not known now."""
        email, known = heartbeat.email, self._latest.get(heartbeat.email)
        if known:
            last = HeardRow(*known[0].number, known[0].written)
            is_new = heartbeat.is_newer_than(known[0])
        else:
            if email not in self._recorded:
                self._recorded[email] = self._trust.heard(email, self._names.app, self._role), -math.inf
            row = self._recorded[email][0]
            if row is None:
                return True
            last = row
            # The same one may be a statement that this process needs.
            is_new = heartbeat.number >= (row.session, row.beat)
        if heartbeat.session < last.session and heartbeat.written > last.written:
            text = (
                "a heartbeat of {} is of an earlier start than another one that was read before, and is ignored. If {} "
                "runs on two machines, stop one of them. Else start it there again, with the right time of day."
            )
            self._logged.warning(email, f"{email} session", text, email, email)
        return is_new

    def _record(self, heartbeat: Heartbeat) -> None:
        """Record a heartbeat, so that the next process refuses older ones."""
        email, now = heartbeat.email, self._clock.monotonic()
        row, recorded = self._recorded.get(email, (None, -math.inf))
        if now - recorded < _RECORD_EVERY and row is not None and row.session == heartbeat.session:
            return
        row = HeardRow(*heartbeat.number, heartbeat.written)
        try:
            self._trust.hear(email, self._names.app, self._role, row)
        except StoreError as error:
            text = "the heartbeat of {} counts, but cannot be recorded: {}"
            self._logged.warning(email, f"{email} {type(error)}", text, email, error.diagnose())
            return
        self._recorded[email] = row, now

    def _note_unusable(self, email: str, name: str, error: SyftFlwrError) -> None:
        if isinstance(error, UnknownPeerError):
            now = self._clock.monotonic()
            if now - self._keyless.setdefault(email, now) < _KEY_IS_LATE:
                logger.debug("{} has arrived before the key of {}, and is read again at the next scan", name, email)
                return
        text = "{} cannot be used now, and is read again at the next scan: {}"
        self._logged.warning(email, f"{name} {type(error).__name__}", text, name, error.diagnose())

    def _look_for_an_older_release(self, email: str) -> None:
        """Log a warning if a peer without a heartbeat has one of protocol version 1, in which only clients wrote one."""
        if self._role != "data-owner" or email in self._latest:
            return
        try:
            self._transport.stat(self._names.old_heartbeat(email))
        except SyftFlwrError:
            return
        text = (
            "{} runs an older release of syft-flwr (protocol version 1), which does not read the requests of this one. "
            "Update syft-flwr at {}, and start its client again."
        )
        self._logged.warning(email, f"{email} older", text, email, email)

    def could_look(self, email: str) -> bool:
        """Return whether the last look at the heartbeat of a peer was possible. A missing or bad file is a result."""
        return email not in self._unreadable

    def note_awaited(self, email: str) -> None:
        """Record that a caller waits for a peer. Log a warning once if its client ended, or seems to be stopped all the time."""
        now = self._clock.monotonic()
        known = self._latest.get(email)
        if self._ended_at(email) and now >= self._told_ended.get(email, now):
            self._told_ended[email] = now + _TELL_AGAIN
            text = "the client of {} ended while a request waits for it ({}). The wait continues until its limit"
            logger.warning(text, email, self.last_seen(email))
        if (known and known[1] > -math.inf) or email in self._keyless:
            self._awaited.pop(email, None)
        elif now - self._awaited.setdefault(email, now) >= _PEER_IS_LATE:
            text = (
                "no heartbeat of {} has arrived for {:.0f} s ({}). Ask {} whether its syft-flwr client runs; over "
                "SyftBox, also whether SyftBox runs there. The request waits until its timeout."
            )
            self._logged.warning(email, f"{email} awaited", text, email, _PEER_IS_LATE, self.last_seen(email), email)

    def latest(self, email: str) -> Heartbeat | None:
        """Return the last heartbeat of a peer that :meth:`look` returned, also if it was old."""
        known = self._latest.get(email)
        return known[0] if known else None

    def last_seen(self, email: str) -> str:
        """Return the time of the last heartbeat of a peer, and a known end of its process, as text for a person."""
        seen = self._last_heartbeat(email)
        try:
            ended = self._last_run(email) if email in self._absent else None
        except StoreError:
            # The calls that need the database report it.
            ended = None
        if ended is None:
            if (gone := self._ended_at(email)) and self._role == "aggregator":
                return f"{seen}; its server ended on {gone:%Y-%m-%d %H:%M} UTC"
            if gone:
                return f"{seen}; its client ended on {gone:%Y-%m-%d %H:%M} UTC; ask {email} to start `syft-flwr client` again"
            return seen
        return (
            f"{seen}; its client ended after run {ended[0]}, which was over on {ended[1]:%Y-%m-%d %H:%M} UTC; ask {email} to "
            "start `syft-flwr client`, with --keep if it must stay for the next run"
        )

    def _ended_at(self, email: str) -> datetime | None:
        """Return when a peer ended that this process has seen alive, by its missing heartbeat; None if it did not end."""
        absent = self._absent.get(email)
        if absent is None or self.found_at(email) == -math.inf:
            return None
        return self._wall_time(absent) if self._clock.monotonic() - absent >= self._gone_after else None

    def _wall_time(self, at: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - at)

    def _last_heartbeat(self, email: str) -> str:
        known = self._latest.get(email)
        if known is None or known[1] == -math.inf:
            # A file was found, but it is older than the last one of an earlier process.
            last = known[0] if known else self._recorded.get(email, (None, 0.0))[0]
            return f"last seen on {last.written:%Y-%m-%d %H:%M} UTC" if last else "not seen yet"
        seconds = self._clock.monotonic() - known[1]
        if email in self._left:
            seconds = max(seconds, (self._clock.now() - known[0].written).total_seconds())
        return f"last seen {seconds:.0f} s ago"

    def found(self, email: str) -> datetime | None:
        """Return when the last heartbeat of a peer was found, by the own clock; None if it is an old file, or missing."""
        at = self.found_at(email)
        return None if at == -math.inf else self._wall_time(at)

    def found_at(self, email: str) -> float:
        """Return the monotonic time at which the last heartbeat of a peer was found; minus infinity if it was old, or missing."""
        known = self._latest.get(email)
        return known[1] if known else -math.inf

    def is_online(self, email: str) -> bool:
        """Return whether a heartbeat of a peer was found within two intervals."""
        return self._clock.monotonic() - self.found_at(email) <= 2 * HEARTBEAT_INTERVAL
