"""Sets up the log of commands, which goes to the console."""

import os


def start_logging() -> None:
    """Log from level INFO or LOGURU_LEVEL on. Tracebacks do not show the values of variables."""
    from loguru import logger

    from syft_flwr.log import write_console

    logger.remove()
    # The lines of other packages may quote a text of a peer, too: the console escapes them.
    logger.add(
        write_console,
        level=os.environ.get("LOGURU_LEVEL", "INFO"),
        format="{time:HH:mm:ss} {level: <8} {message}",
        diagnose=False,
    )
