"""Follows the data owners that requests wait for, by their heartbeats and by the transfers of objects."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from syft_flwr._messaging.asking.pending import Pending, Stage
from syft_flwr._messaging.asking.request_transfers import RequestTransfers
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr.log import logger
from syft_flwr.runs.events import Heard, RequestHeld, Seen, Silent, Waiting, moment
from syft_flwr.runs.stream import Emit

#: Seconds between two log lines with the datasites that the aggregator waits for.
_SAY_WAITING = 30.0
#: Seconds between two events about new heartbeats.
_SAY_HEARD = 1.0
#: Seconds between two events about a wait of which only the end has moved, and seconds of a move that counts.
_SAY_MOVED, _MOVED = 5.0, 0.5
#: Seconds until the end of a wait that the line does not tell.
_LONG = 7 * 86_400.0
#: Data owners in such a line.
_MAX_SHOWN = 20


class AwaitedOwners:
    """The data owners of the open requests. Used by one thread.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        liveness: the heartbeats of the data owners.
        transfers: the objects of the open requests.
        watched: the emails of the data owners to read a heartbeat of at every scan, also without an open request.
        longest_pause: seconds between two looks that count as silence. After a longer pause, this process was stopped.
        silent_after: seconds without a heartbeat after which a data owner counts as silent.
        on_event: gets each change: data owners that were seen or became silent, requests that they hold, and waits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        liveness: Liveness,
        transfers: RequestTransfers,
        watched: Collection[str],
        longest_pause: float,
        silent_after: float,
        on_event: Emit,
    ) -> None:
        self._app = endpoint.names.app
        self._longest_pause = longest_pause
        self._silent_after = silent_after
        self._trust = endpoint.trust
        self._clock = endpoint.clock
        self._liveness = liveness
        self._transfers = transfers
        self._watched = list(watched)
        self._on_event = on_event
        self._said_waiting = self._clock.monotonic()
        #: By email, whether the last event told that the data owner was seen.
        self._seen: dict[str, bool] = {}
        #: By email, the monotonic time since which requests wait for the data owner.
        self._since: dict[str, float] = {}
        #: The data owners with a new heartbeat since the last event about that, and its monotonic time.
        self._heard: set[str] = set()
        self._said_heard = -math.inf
        self._last_wait: tuple[object, ...] = ()
        #: The end of the wait in its last event, and the monotonic time of that event.
        self._last_end, self._said_end = 0.0, -math.inf

    def look(self, run: int, waiting: Sequence[Pending]) -> None:
        """Read the heartbeats, and note each request that is held or under way. ``waiting`` are the open requests."""
        now = self._clock.monotonic()
        by_datasite: dict[str, list[Pending]] = {}
        for pending in waiting:
            by_datasite.setdefault(pending.asked.recipient, []).append(pending)
        for email in dict.fromkeys((*self._watched, *by_datasite)):
            self.look_at(email, run, by_datasite.get(email, ()))
            self._count_silence(email, by_datasite.get(email, ()))
        for email in by_datasite:
            self._liveness.note_awaited(email)
        for pending in waiting:
            email = pending.asked.recipient
            online = self._liveness.latest(email) if self._liveness.is_online(email) else None
            if self._transfers.is_under_way(pending, online):
                pending.note_life(now)
        self._emit_heard(run)
        self._emit_silent(run, by_datasite)
        self._emit_waiting(run, waiting)
        if by_datasite and now - self._said_waiting >= _SAY_WAITING:
            self._said_waiting = now
            if asked := {
                email: found for email, each in by_datasite.items() if (found := [p for p in each if p.round])
            }:
                self._say_waiting(run, asked)

    def _say_waiting(self, run: int, by_datasite: Mapping[str, Sequence[Pending]]) -> None:
        """Log each awaited data owner: its message, the last heartbeat, and the next end of the wait."""
        now = self._clock.monotonic()
        shown = []
        for email, waiting in sorted(by_datasite.items())[:_MAX_SHOWN]:
            progress = next((text for pending in waiting if (text := pending.known_progress())), "")
            shown.append(f"{email} ({self._liveness.last_seen(email)}{progress})")
        if len(by_datasite) > _MAX_SHOWN:
            shown.append(f"{len(by_datasite) - _MAX_SHOWN} more")
        # The longest lifetime is no limit that a person waits for.
        known = [each.ends for waiting in by_datasite.values() for each in waiting if each.ends[0] - now < _LONG]
        end, limit = min(known, default=(now, ""))
        wait = f"; the next wait ends in {max(0.0, end - now):.0f} s ({limit})" if limit else ""
        logger.info("run {} ({}): waiting for {}{}", run, self._app, ", ".join(shown), wait)

    def _count_silence(self, email: str, waiting: Sequence[Pending]) -> None:
        """Count the time since the last look as silence. Where no look was possible, it does not count."""
        now = self._clock.monotonic()
        most = self._longest_pause if self._liveness.could_look(email) else 0.0
        for pending in waiting:
            pending.note_look(now, most=most)

    def look_at(self, email: str, run: int, waiting: Sequence[Pending]) -> None:
        """Read the heartbeat of one data owner. ``waiting`` are its open requests."""
        heartbeat = self._liveness.look(email)
        if heartbeat is None or not self._liveness.is_online(email):
            # No new heartbeat, or one that a client left which died long ago.
            return
        self._heard.add(email)
        if not self._seen.get(email):
            self._seen[email] = True
            self._on_event(run, Seen(email, self._trust.software_of(email)))
        self._transfers.hear(heartbeat, waiting)
        running = next((each for each in waiting if each.id == heartbeat.running), None)
        for pending in waiting:
            if heartbeat.holds(pending.id):
                # A later message can run first: objects of this one are missing, or its reply cannot be written.
                is_later = running is not None and running.created > pending.created
                pending.is_behind = heartbeat.running not in ("", pending.id) and not is_later
                if pending.stage is not Stage.ARRIVING or self._transfers.may_be_arriving(pending):
                    pending.note_life(self._clock.monotonic())
                self._emit_held(pending, heartbeat)

    def _emit_held(self, pending: Pending, heartbeat: Heartbeat) -> None:
        stage = "running" if heartbeat.running == pending.id else "waiting"
        if stage != pending.held:
            pending.held, pending.held_since = stage, self._clock.monotonic()
            self._on_event(pending.asked.run, RequestHeld(pending.id, pending.asked.recipient, stage))

    def _emit_heard(self, run: int) -> None:
        # Also of idle data owners: without a heartbeat, a person would take them for dead.
        now = self._clock.monotonic()
        if self._heard and now - self._said_heard >= _SAY_HEARD:
            self._said_heard = now
            self._on_event(run, Heard(sorted(self._heard)))
            self._heard.clear()

    def _emit_silent(self, run: int, awaited: Iterable[str]) -> None:
        """Emit once that no heartbeat of an awaited data owner was found for two intervals."""
        now = self._clock.monotonic()
        self._since = {email: self._since.get(email, now) for email in awaited}
        for email, since in self._since.items():
            if now - self._liveness.found_at(email) <= self._silent_after:
                continue
            was_seen = self._seen.get(email)
            if was_seen or (was_seen is None and now - since >= self._silent_after):
                self._seen[email] = False
                found = self._liveness.found(email)
                self._on_event(run, Silent(email, moment(found) if found else ""))

    def look_at_wait(self, run: int, waiting: Sequence[Pending]) -> None:
        """Emit new heartbeats and a new wait soon, at most once a second. ``waiting`` are the open requests."""
        self._emit_heard(run)
        if self._clock.monotonic() - self._said_end >= _SAY_HEARD:
            self._emit_waiting(run, waiting)

    def _emit_waiting(self, run: int, waiting: Sequence[Pending]) -> None:
        """Emit the awaited data owners, their missing keys, the limit and the end of the wait, if one of them changed."""
        # The strategy waits for no control message, and their only limit is the lifetime.
        waiting = [pending for pending in waiting if pending.round]
        owners = sorted({pending.asked.recipient for pending in waiting})
        # One name for each request, because the end of one must be followed by the wait for the rest.
        without_key = sorted(each.asked.recipient for each in waiting if each.stage is Stage.WAITING_FOR_KEY)
        end, limit = min((pending.ends for pending in waiting), default=(0.0, ""))
        # A later request of the same data owners begins another wait.
        latest = max((pending.created for pending in waiting), default=None)
        now = self._clock.monotonic()
        has_moved = abs(end - self._last_end) >= _MOVED and now - self._said_end >= _SAY_MOVED
        wait = owners, without_key, limit, latest
        if not limit or (wait == self._last_wait and not has_moved):
            self._last_wait = self._last_wait if owners else ()
            return
        self._last_wait = wait
        self._last_end, self._said_end = end, now
        until = self._clock.now() + timedelta(seconds=end - now)
        self._on_event(run, Waiting(owners, moment(until), limit, list(dict.fromkeys(without_key))))
