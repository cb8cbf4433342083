"""Tells whether a process serves a run: it holds the lock of its app, or that file was deleted and the record still grows."""

import time
from contextlib import suppress
from pathlib import Path

from syft_flwr.locks import is_held
from syft_flwr.runs.view import SILENT_AFTER


def is_served(lock: Path, record: Path) -> bool:
    """Return whether a process serves the run of this record; no lock is taken."""
    return is_held(lock) or has_lost_its_lock(lock, record)


def has_lost_its_lock(lock: Path, record: Path) -> bool:
    """Return whether the lock file was deleted under a process that still writes the record.

    A killed process leaves the file behind. So this is another program, or a person.
    """
    with suppress(OSError):
        return not lock.exists() and abs(time.time() - record.stat().st_mtime) < SILENT_AFTER
    return False
