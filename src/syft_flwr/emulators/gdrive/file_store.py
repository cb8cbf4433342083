"""The file store: the current state of every file, and earlier states for readers with a lag."""

import math
from collections.abc import Callable, Iterator

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive.records import EmulatedFile

#: Returns after how many seconds a state becomes visible, from the id of the file and the number of the state.
Lags = Callable[[str, int], float]


def at_once(_file_id: str, _number: int) -> float:
    """Return a lag of 0 seconds. The store recognises this function and then skips the search for older states."""
    return 0.0


class FileStore:
    """Stores the states of all files. Not thread-safe: the service calls it with its lock held.

    Args:
        clock: gives the time of each state.
        horizon: returns the longest lag of any user, in seconds. The store drops states that are older.
    """

    def __init__(self, clock: Clock, horizon: Callable[[], float]) -> None:
        self._clock = clock
        self._horizon = horizon
        # The states of each file, the latest last: time in seconds, number, and the file or None for a deletion.
        self._states: dict[str, list[tuple[float, int, EmulatedFile | None]]] = {}
        self._children: dict[str, set[str]] = {}
        # All present and former children of a folder in order of arrival, for readers with a lag.
        self._ever_children: dict[str, dict[str, None]] = {}
        self._number = 0

    def get(self, file_id: str) -> EmulatedFile | None:
        states = self._states.get(file_id)
        return states[-1][2] if states else None

    def was_used(self, file_id: str) -> bool:
        """Return whether a file has or had this id."""
        return file_id in self._states

    def seen(self, file_id: str, lag: Lags, gone: Lags) -> EmulatedFile | None:
        """Return the state of a file that a reader with a lag sees, or None.

        Args:
            file_id: the file.
            lag: the lag of changes.
            gone: the lag of deletions.
        """
        if lag is at_once is gone:
            return self.get(file_id)
        now = self._clock.monotonic()
        states = self._states.get(file_id, [])
        self._forget(states, now)
        for made, number, file in reversed(states):
            if made + (lag if file else gone)(file_id, number) <= now:
                return file
        return None

    def current(self) -> Iterator[EmulatedFile]:
        for states in self._states.values():
            if file := states[-1][2]:
                yield file

    def ids(self) -> Iterator[str]:
        """Yield the ids of all files that some user may still see."""
        for file_id, states in self._states.items():
            if states[-1][2] or len(states) > 1:
                yield file_id

    def ids_in(self, folder_id: str) -> list[str]:
        """Return the ids of all files that some user may still see in a folder."""
        return list(self._ever_children.get(folder_id, ()))

    def children(self, folder_id: str) -> list[EmulatedFile]:
        found = map(self.get, sorted(self._children.get(folder_id, ())))
        return [child for child in found if child]

    def descendants(self, folder_id: str) -> list[EmulatedFile]:
        """Return all files below a folder, parents before their children."""
        found = self.children(folder_id)
        for file in found:
            found.extend(self.children(file.id))
        return found

    def ancestors(self, file: EmulatedFile) -> Iterator[EmulatedFile]:
        """Yield the folders above a file, the nearest first."""
        parent = file.parent
        while parent and (folder := self.get(parent)):
            yield folder
            parent = folder.parent

    def put(self, file: EmulatedFile) -> None:
        self._append(file.id, file)

    def remove(self, file_id: str) -> None:
        self._append(file_id, None)

    def settle(self) -> None:
        """Make the current state of each file visible to all users at once."""
        for states in self._states.values():
            states[:] = [(-math.inf, *states[-1][1:])]

    def _append(self, file_id: str, file: EmulatedFile | None) -> None:
        before = self.get(file_id)
        if before and before.parent:
            self._children[before.parent].discard(file_id)
        if file and file.parent:
            self._children.setdefault(file.parent, set()).add(file_id)
            self._ever_children.setdefault(file.parent, {})[file_id] = None
        now = self._clock.monotonic()
        self._number += 1
        states = self._states.setdefault(file_id, [])
        states.append((now, self._number, file))
        self._forget(states, now)

    def _forget(self, states: list[tuple[float, int, EmulatedFile | None]], now: float) -> None:
        """Drop the states that no user can see any more, and make the oldest remaining one visible at any time."""
        if len(states) < 2:
            return
        horizon = now - self._horizon()
        while len(states) > 1 and states[1][0] <= horizon:
            states[0] = (-math.inf, *states[1][1:])
            del states[1]
