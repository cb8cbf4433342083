"""Reads the progress of one participant from its records while they grow.

It is for the display only: the verdict about a run reads the database of the server.
"""

import contextlib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.owner_counts import OwnerCounts
from syft_flwr.runs.record import Role
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.runs.view import RunView, view_of


class Progress:
    """The sum of the records of one participant, up to the last :meth:`read`. Usually it is one record.

    Args:
        records: the folder of the records; it may be missing.
        role: the side of the participant.
    """

    def __init__(self, records: Path, role: Role) -> None:
        self._records = records
        self._name = re.compile(rf"(?P<run>[0-9a-f]{{16}})\.{role}\.jsonl")
        self._readers: dict[int, RecordReader] = {}
        self._accounts: dict[int, RunAccount] = {}
        #: The id of the run that began last; 0 before the first one.
        self.run = 0

    def read(self) -> None:
        """Read the entries that were added since the last call."""
        try:
            paths = list(self._records.iterdir())
        except FileNotFoundError:
            return
        for path in paths:
            # Run 0 stands for events of no run.
            if (found := self._name.fullmatch(path.name)) and (run := int(found["run"], 16)):
                # A file that cannot be read now, for example because too many files are open, is read at the next call.
                with contextlib.suppress(OSError):
                    self._read_record(path, run)

    def _read_record(self, path: Path, run: int) -> None:
        account = self._accounts.setdefault(run, RunAccount())
        for entry in self._readers.setdefault(run, RecordReader(path)).read():
            if entry.event in ("run-started", "run-resumed"):
                self.run = run
            account.add(entry)

    def view(self, now: datetime, *, app: str, participant: str, is_served: bool) -> RunView | None:
        """Return the view of the run that began last; None before the first one."""
        if not self.begun:
            return None
        return view_of(self._current, now, run=str(self.run), app=app, participant=participant, is_served=is_served)

    @property
    def begun(self) -> bool:
        """Return whether the participant has begun to serve a run."""
        return self.run > 0

    @property
    def round(self) -> str:
        """Return the latest round; empty if no message named one."""
        return self._current.round

    @property
    def total_rounds(self) -> int:
        """Return the number of rounds of the strategy; 0 if it is not known."""
        return self._current.total_rounds

    @property
    def answered(self) -> int:
        """Return the number of requests with a good reply."""
        return sum(account.answered for account in self._accounts.values())

    @property
    def failed(self) -> int:
        """Return the number of requests that failed."""
        return sum(account.failed for account in self._accounts.values())

    @property
    def owners(self) -> Mapping[str, OwnerCounts]:
        """Return the counts of the requests by data owner; empty at a data owner."""
        found: dict[str, OwnerCounts] = {}
        for account in self._accounts.values():
            for email, counts in account.owners.items():
                total = found.setdefault(email, OwnerCounts())
                total.asked += counts.asked
                total.answered += counts.answered
                total.failed += counts.failed
                total.last_failure = counts.last_failure or total.last_failure
        return found

    @property
    def _current(self) -> RunAccount:
        return self._accounts.get(self.run) or RunAccount()
