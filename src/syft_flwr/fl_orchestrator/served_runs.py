"""The runs that a process serves: begins each one in the database first, then in the record."""

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.limits import MAX_RUNS
from syft_flwr._store.run_table import Runs
from syft_flwr._store.states import RunState
from syft_flwr.clock import Clock
from syft_flwr.config import Settings
from syft_flwr.config.values import NO_LIMIT
from syft_flwr.errors import StoreError
from syft_flwr.runs.events import Event, RunEnded, RunResumed, RunStarted
from syft_flwr.runs.record import Role
from syft_flwr.runs.retention import KEPT, delete_expired
from syft_flwr.runs.secrets_mask import masked_text, masked_values
from syft_flwr.runs.stream import Emit
from syft_flwr.software import __version__

#: Runs that are remembered after their end. A late event of another one is looked up in the database.
_MOST_KNOWN = 1_000


class ServedRuns:
    """Begins and ends the runs of one app and role. Used by one thread at a time.

    Args:
        runs: the runs in the database of this side.
        folder: the folder of the records; old ones are deleted when a run begins.
        on_event: gets the begin and the end of each run.
        clock: the clock of the database.
        role: the side of the runs.
        facts: returns the facts about this participant that each begin contains.
    """

    def __init__(
        self,
        runs: Runs,
        folder: Path,
        on_event: Emit,
        clock: Clock,
        role: Role,
        facts: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._runs = runs
        self._folder = folder
        self._on_event = on_event
        self._clock = clock
        self._role: Role = role
        self._facts = facts
        self._begun: set[int] = set()
        #: Ids of the open requests with an event of their arrival, for the responders of this process.
        self.received: set[str] = set()
        #: The runs that have a record, because a process began them here.
        self._known: set[int] = {0}

    def begin(
        self, run: int, *, alone: bool = False, config: str = "", values: Mapping[str, Any] = MappingProxyType({})
    ) -> bool:
        """Record that this process serves a run. A second call for the same run changes nothing, and returns False.

        Args:
            run: the id of the run.
            alone: end all other unfinished runs as stopped.
            config: the run configuration of the aggregator as text, or its digest at a data owner.
            values: the values of the run configuration, for the record. Those that look like secrets are hidden there.
        """
        if run in self._begun:
            return False
        now = self._clock.now()
        others = [row.run for row in self._runs.unfinished() if row.run != run] if alone else []
        row = self._runs.begin(run, now, alone=alone, config=config)
        self._begun.add(run)
        self._known.add(run)
        # From here on, only the record is concerned, and no error of it may end a request.
        with suppress(StoreError):
            self._runs.forget_before(now - KEPT, MAX_RUNS)
            for other in others:
                if over := self._runs.get(other):
                    self._on_event(other, RunEnded(over.state.value, over.cause))
        delete_expired(self._folder, now)
        facts = {**self._facts(), "role": self._role, "pid": os.getpid(), "run_config": masked_values(values)}
        self._on_event(run, RunResumed(**facts, resumed=row.resumed) if row.resumed else RunStarted(**facts))
        return True

    def emit(self, run: int, event: Event) -> None:
        """Emit an event. One of a run that no process began here, such as a ping, goes to the record of no run."""
        self._on_event(run if run in self._known or self._was_served(run) else 0, event)

    def _was_served(self, run: int) -> bool:
        try:
            row = self._runs.get(run)
        except StoreError:
            # An event must not end a request. The same trouble is reported by the calls that need the database.
            return False
        if row is None or row.served is None:
            return False
        self._known.add(run)
        return True

    def emit_end(self, run: int, state: RunState, cause: str, losses: Sequence[Mapping[str, Any]] = ()) -> None:
        """Emit the end of a run, after the database has it."""
        self._begun.discard(run)
        if len(self._known) > _MOST_KNOWN:
            # The database knows the others.
            self._known = {0, *self._begun}
        self._on_event(run, RunEnded(state.value, cause, losses=losses))


def _fingerprints(trust: Trust) -> dict[str, str]:
    try:
        return trust.fingerprints()
    except StoreError:
        # The calls that need the keys of the peers report it.
        return {trust.email: trust.own_fingerprint}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        # The values of a configuration may be secrets.
        return ", ".join(value)
    if value == math.inf:
        return NO_LIMIT
    if isinstance(value, str):
        # Such as a token in the command of a worker.
        return masked_text(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def participant_facts(app: str, aggregator: str, trust: Trust, settings: Settings) -> dict[str, Any]:
    """Return the facts about this participant that the begin of a run contains.

    None of them is secret: the settings of a transport of another package may be, so they are left out.
    """
    known = [
        each for each in settings.report() if each.name not in settings.others and each.value not in (None, (), {})
    ]
    return {
        "app": app,
        "aggregator": aggregator,
        "versions": {
            "syft-flwr": __version__,
            "flwr": version("flwr"),
            "python": platform.python_version(),
        },
        "fingerprints": _fingerprints(trust),
        "settings": {each.name: _text(each.value) for each in known},
    }
