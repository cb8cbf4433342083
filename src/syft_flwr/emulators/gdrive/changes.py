"""The change log of every user.

- An entry says that something about a file changed, not what: reading it shows the file as it is then.
- There is at most one entry for a file; a newer change replaces it and stands last.
- A page token is the number of the next entry; it never expires.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive.drive_errors import invalid
from syft_flwr.emulators.gdrive.file_store import Lags, at_once


@dataclass(frozen=True, slots=True)
class ChangeEntry:
    """One entry: its number, and when it was made, by both clocks.

    Attributes:
        in_my_drive: the file lay below the user's root when it changed, or did so before.
    """

    number: int
    file_id: str
    time: datetime
    made: float
    in_my_drive: bool


class ChangeLog:
    """Not thread-safe; the service calls it under its lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._number = 1
        self._entries: dict[str, dict[str, ChangeEntry]] = {}

    def note(self, email: str, file_id: str, *, in_my_drive: bool) -> None:
        entries = self._entries.setdefault(email, {})
        before = entries.pop(file_id, None)
        self._number += 1
        entries[file_id] = ChangeEntry(
            self._number,
            file_id,
            self._clock.now(),
            self._clock.monotonic(),
            in_my_drive or (before is not None and before.in_my_drive),
        )

    def forget(self, email: str, file_id: str) -> None:
        """Lose an entry, as the service is reported to do."""
        self._entries.get(email, {}).pop(file_id, None)

    def settle(self) -> None:
        """Let everybody see all entries."""
        for entries in self._entries.values():
            for file_id, entry in entries.items():
                entries[file_id] = replace(entry, made=-math.inf)

    def start(self, email: str, lag: Lags) -> str:
        """Return the token for what is yet to come."""
        hidden = self._hidden(email, lag)
        return str(hidden.number if hidden else self._number + 1)

    def since(self, email: str, token: str, lag: Lags) -> list[ChangeEntry]:
        """Return the entries from a token on that the user sees by now, the oldest first.

        Raises:
            DriveError: 400, this is no token.
        """
        if not token.isdecimal() or len(token) > 18:
            raise invalid("pageToken")
        hidden = self._hidden(email, lag)
        # What comes after an entry that is still hidden stays hidden, too: else the token would pass over it.
        end = hidden.number if hidden else self._number + 1
        newest_first = reversed(self._entries.get(email, {}).values())
        later = [
            entry for entry in takewhile(lambda entry: entry.number >= int(token), newest_first) if entry.number < end
        ]
        return later[::-1]

    def _hidden(self, email: str, lag: Lags) -> ChangeEntry | None:
        if lag is at_once:
            return None
        now = self._clock.monotonic()
        entries = self._entries.get(email, {}).values()
        return next((entry for entry in entries if entry.made + lag(entry.file_id, entry.number) > now), None)
