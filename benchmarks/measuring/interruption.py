"""Exit with cleanup after a signal."""

import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_cleanly_on_signals() -> None:
    """Raise SystemExit at the first SIGINT or SIGTERM, and ignore later ones, so that the cleanup can finish."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in _SIGNALS:
        signal.signal(each, leave)
