"""The log of commands: events for an operator, on standard error."""

import os
import sys


def start_logging() -> None:
    """Log from INFO on (loguru's own LOGURU_LEVEL says otherwise), without the values of variables in tracebacks."""
    from loguru import logger

    logger.remove()
    logger.add(
        _write,
        level=os.environ.get("LOGURU_LEVEL", "INFO"),
        format="{time:HH:mm:ss} {level: <8} {message}",
        diagnose=False,
    )


def _write(line: str) -> None:
    # The stream is looked up at each line: whoever calls a command from Python may put another in its place.
    sys.stderr.write(line)
