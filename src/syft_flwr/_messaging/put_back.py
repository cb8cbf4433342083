"""Decides how often and when a missing own file is written again.

A sync service can delete files that their writer did not delete. The writer then puts them back, at growing intervals
and a limited number of times, so that two programs that disagree about a file do not keep the folder busy.
"""

import threading
from dataclasses import dataclass

from syft_flwr.clock import Clock
from syft_flwr.log_once import LogOnce

#: How often one file is put back.
MOST_TIMES = 20
#: The longest pause in seconds before the next time.
_LONGEST_PAUSE = 60.0
#: The first time is at once; this many seconds are the pause before the second time. Each further pause is twice as long.
_FIRST_PAUSE = 3.0


@dataclass(slots=True)
class _Count:
    times: int
    #: The monotonic time before which the file is not put back.
    pause_until: float


class PutBack:
    """Counts how often each missing file was put back. Thread-safe.

    A caller that finds a file missing asks :meth:`due`, writes the file and calls :meth:`done`. It calls :meth:`forget`
    when the file is no longer needed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._logged = LogOnce()

    def due(self, name: str) -> bool:
        """Return whether the missing file ``name`` must be written now. Log a warning if it was written too often."""
        with self._lock:
            count = self._counts.get(name)
            if count is None:
                return True
            if count.times < MOST_TIMES:
                return self._clock.monotonic() >= count.pause_until
        text = (
            "{} was deleted {} times by another program, and is not written again; its message waits until its time is "
            "over. Check the log of the SyftBox client, its free disk space and its connection."
        )
        # Who deletes it may be the owner of the datasite.
        self._logged.warning(name.partition("/")[0], name, text, name, MOST_TIMES + 1)
        return False

    def done(self, name: str) -> None:
        """Record that the file was put back."""
        with self._lock:
            count = self._counts.setdefault(name, _Count(0, 0.0))
            pause = min(_FIRST_PAUSE * 2**count.times, _LONGEST_PAUSE)
            count.times += 1
            count.pause_until = self._clock.monotonic() + pause

    def forget(self, name: str) -> None:
        """Drop the count of a file that is no longer needed."""
        with self._lock:
            self._counts.pop(name, None)
