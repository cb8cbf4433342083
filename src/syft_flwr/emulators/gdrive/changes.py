"""The change log of each user.

- An entry records that a file changed, but not the change. A reader of the entry gets the current state of the file.
- A file has at most one entry. A newer change replaces it and goes to the end.
- A page token is the number of the next entry. It never expires.
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
    """One entry of a change log.

    Attributes:
        number: position in the log; it grows with every change.
        file_id: the changed file.
        time: time of the change, for the client.
        made: the same time in seconds of the clock's ``monotonic``, for the lag.
        in_my_drive: the file is or was below the user's root.
    """

    number: int
    file_id: str
    time: datetime
    made: float
    in_my_drive: bool


class ChangeLog:
    """The change logs of all users. Not thread-safe: the service calls it with its lock held."""

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
        """Delete an entry. Users report that Drive sometimes loses entries."""
        self._entries.get(email, {}).pop(file_id, None)

    def settle(self) -> None:
        """Make all entries visible to all users at once."""
        for entries in self._entries.values():
            for file_id, entry in entries.items():
                entries[file_id] = replace(entry, made=-math.inf)

    def start(self, email: str, lag: Lags) -> str:
        """Return the page token for all later changes."""
        hidden = self._hidden(email, lag)
        return str(hidden.number if hidden else self._number + 1)

    def since(self, email: str, token: str, lag: Lags) -> list[ChangeEntry]:
        """Return the visible entries from a page token on, the oldest first.

        Raises:
            DriveError: 400, the token is not valid.
        """
        if not token.isdecimal() or len(token) > 18:
            raise invalid("pageToken")
        hidden = self._hidden(email, lag)
        # Entries after a hidden one stay hidden too. Otherwise the next token would skip the hidden one.
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
