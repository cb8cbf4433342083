"""The file ``client.health`` in the home of an app: its client tells there every few seconds that it works, and its trouble.

It is not durable: after a crash it is worthless, because then the lock of the app is free. So a write costs no wait for the
disk. A reader may meet a write, and then reads again.
"""

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from syft_flwr.errors import StorageError
from syft_flwr.files import read_bounded
from syft_flwr.private_files import FILE

NAME = "client.health"
#: Seconds between two writes without a change.
_EVERY = 5.0
#: Bytes of the file, of which the rest is spaces: a shorter content leaves no end of a longer one. A character of JSON has
#: up to 12 bytes.
_SIZE = 4_096
_MOST_TROUBLE = 300
#: Attempts of a reader.
_READS = 3

STARTING, SERVING = "starting", "serving"


class Told(NamedTuple):
    """The last statement of a client."""

    phase: str
    #: The monotonic time of the machine.
    at: float
    #: Seconds within which the next statement was announced.
    within: float
    trouble: str

    @property
    def age(self) -> float:
        """Return the seconds since then; infinity for a time in the future, which is that of an earlier boot."""
        age = time.monotonic() - self.at
        return age if age >= 0 else math.inf


class HealthFile:
    """The file of one client. Used by one thread at a time.

    Args:
        home: the home of the app.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / NAME
        self._last: Told | None = None

    def tell(self, phase: str, *, within: float, trouble: str = "") -> None:
        """Write that the client works now, and writes again in ``within`` seconds. Never raises: it is a service to probes."""
        told = Told(phase, time.monotonic(), within + _EVERY, trouble[:_MOST_TROUBLE])
        last = self._last
        if last and (last.phase, last.trouble) == (told.phase, told.trouble) and told.at - last.at < _EVERY:
            return
        fields = {"v": 1, "phase": phase, "at": told.at, "within": told.within, "trouble": told.trouble}
        data = json.dumps(fields).encode().ljust(_SIZE)
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, FILE)
            try:
                os.pwrite(fd, data, 0)
            finally:
                os.close(fd)
            self._last = told

    def remove(self) -> None:
        """Delete the file, at an orderly end."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_health(home: Path) -> Told | None:
    """Return the last statement of the client; None if there is none that can be read."""
    for _ in range(_READS):
        try:
            data = read_bounded(home / NAME, _SIZE)
        except StorageError:
            return None
        with suppress(ValueError, RecursionError, KeyError, TypeError):
            fields = json.loads(data)
            told = Told(
                str(fields["phase"]),
                float(fields["at"]),
                float(fields["within"]),
                str(fields["trouble"])[:_MOST_TROUBLE],
            )
            return told if fields["v"] == 1 and math.isfinite(told.at) and told.within >= 0 else None
    return None
