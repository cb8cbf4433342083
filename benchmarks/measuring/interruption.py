"""An end by signal that still cleans up."""

import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_cleanly_on_signals() -> None:
    """Let the first SIGINT or SIGTERM raise SystemExit, and no later one disturb what is done then."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in _SIGNALS:
        signal.signal(each, leave)
