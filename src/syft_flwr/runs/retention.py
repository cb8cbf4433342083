"""Decides which records, logs and metrics of runs are too old, or too many, and deletes them."""

import re
import stat
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from syft_flwr.log import logger

#: A record is kept this long after its last event.
KEPT = timedelta(days=365)
#: Bytes and number of all records of one app; the oldest are deleted first. Logs have as many bytes of their own, and so
#: have the files of metrics, because an app and the peers decide about their size.
_MAX_TOTAL = 1 << 30
_MAX_RECORDS = 2_000
_NAME = re.compile(
    r"[0-9a-f]{16}\.(?:aggregator|datasite)"
    r"\.(?:jsonl|status\.json|(?P<log>log)(?:\.\d)?|(?P<metrics>metrics)\.(?:jsonl|csv)|(?:tensorboard|mlflow)\.lock)"
)


def expired_records(folder: Path, now: datetime) -> list[tuple[Path, int]]:
    """Return the files of old records, logs and metrics with their sizes: past :data:`KEPT`, or beyond the bytes and the number of an app."""
    known = [name for path in folder.iterdir() if (name := _NAME.fullmatch(path.name))] if folder.is_dir() else []
    found: list[tuple[float, int, Path, str]] = []
    for name in known:
        path = folder / name[0]
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime, status.st_size, path, name.lastgroup or "record"))
    oldest = (now - KEPT).timestamp()
    expired, number = [], 0
    total: Counter[str] = Counter()
    for changed, size, path, kind in sorted(found, reverse=True):
        total[kind] += size
        number += kind == "record" and path.suffix == ".jsonl"
        if changed < oldest or total[kind] > _MAX_TOTAL or number > _MAX_RECORDS:
            expired.append((path, size))
    return expired


def delete_expired(folder: Path, now: datetime) -> None:
    """Delete the files of old records, logs and metrics. One that cannot be deleted is tried again at the next start."""
    try:
        for path, _ in expired_records(folder, now):
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("old records in {} cannot be deleted: {}", folder, error.strerror)
