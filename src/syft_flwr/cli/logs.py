"""Sets up the log of commands, which goes to standard error."""

import os
import sys

from syft_flwr.text import encodable, escaped


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
    # The lines of other packages may quote a text of a peer, too.
    sys.stderr.write(encodable(escaped(line), sys.stderr.encoding))
