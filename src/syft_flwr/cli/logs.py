"""Sets up the log of commands, which goes to standard error."""

import os
import re
import sys

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def start_logging() -> None:
    """Log from level INFO or LOGURU_LEVEL on. Tracebacks do not show the values of variables."""
    from loguru import logger

    logger.remove()
    logger.add(
        _write,
        level=os.environ.get("LOGURU_LEVEL", "INFO"),
        format="{time:HH:mm:ss} {level: <8} {message}",
        diagnose=False,
    )


def _write(line: str) -> None:
    # Looked up for each line, because a caller in Python may replace sys.stderr.
    # A text of a peer, which a line may quote, must not control the terminal.
    sys.stderr.write(_CONTROL.sub("?", line))
