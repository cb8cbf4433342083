"""Decides which records and logs of runs are too old, or too many, and deletes them."""

import re
import stat
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from syft_flwr.log import logger

#: A record is kept this long after its last event.
KEPT = timedelta(days=365)
#: Bytes and number of all records of one app; the oldest are deleted first. Logs have as many bytes of their own, because
#: an app and the peers decide about their size.
_MAX_TOTAL = 1 << 30
_MAX_RECORDS = 2_000
_NAME = re.compile(r"[0-9a-f]{16}\.(aggregator|datasite)\.(jsonl|status\.json|(?P<log>log)(\.\d)?)")


def expired_records(folder: Path, now: datetime) -> list[tuple[Path, int]]:
    """Return the files of old records and logs with their sizes: past :data:`KEPT`, or beyond the bytes and the number of an app."""
    paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    found: list[tuple[float, int, Path]] = []
    for path in paths:
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime, status.st_size, path))
    oldest = (now - KEPT).timestamp()
    expired, number = [], 0
    total = {True: 0, False: 0}
    for changed, size, path in sorted(found, reverse=True):
        name = _NAME.fullmatch(path.name)
        is_log = bool(name and name["log"])
        total[is_log] += size
        number += path.suffix == ".jsonl"
        if changed < oldest or total[is_log] > _MAX_TOTAL or number > _MAX_RECORDS:
            expired.append((path, size))
    return expired


def delete_expired(folder: Path, now: datetime) -> None:
    """Delete the files of old records and logs. One that cannot be deleted is tried again at the next start."""
    try:
        for path, _ in expired_records(folder, now):
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("old records in {} cannot be deleted: {}", folder, error.strerror)
