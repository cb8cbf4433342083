"""How many lines of an app the log takes, so that a flood of prints does not fill the memory or the disk."""

import time

#: Lines that are taken at once, and in each second after that.
_BURST, _RATE = 2_000.0, 100.0


class Allowance:
    """The lines that may be taken: a number at once, and some more in each second."""

    def __init__(self) -> None:
        self._left, self._at = _BURST, time.monotonic()

    def take(self) -> bool:
        """Return whether one more line may be taken."""
        now = time.monotonic()
        self._left, self._at = min(_BURST, self._left + (now - self._at) * _RATE), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
