"""Loads or creates ``identity.key``, the file with the private keys of the participant.

Only the user of this participant may read it. It is never in a synced folder.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from syft_flwr.errors import HOME_HINT, StorageError, StoreError
from syft_flwr.files import read_bounded, write_private
from syft_flwr.locks import ProcessLock

_NAME = "identity.key"
_MAX_SIZE = 4096


def load_or_create(home: Path, create: Callable[[], bytes]) -> bytes:
    """Return the bytes of ``identity.key`` in ``home``. At the first use, write the result of ``create``.

    Raises:
        StoreError: other users can read the file, or it cannot be read or written.
    """
    path = home.resolve() / _NAME
    # An existing file is never replaced: peers would refuse the new keys.
    if not os.path.lexists(path):
        # Two processes may start at the same time; the second must use the keys of the first.
        with ProcessLock(path.with_suffix(".lock"), "the first start of this participant", wait=True):
            if not os.path.lexists(path):
                _write(path, create())
    try:
        private = read_bounded(path, _MAX_SIZE)
    except StorageError as error:
        raise not_a_key_file(path.parent, error) from error
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StoreError(f"{path} can be read by others", hint=f"Run: chmod 600 {path}")
    return private


def not_a_key_file(home: Path, error: Exception) -> StoreError:
    """Return the error for an ``identity.key`` in ``home`` that cannot be read, or has no keys."""
    return StoreError(
        f"{home / _NAME} is not a key file: {error}",
        hint="Restore it from a backup. Without a backup, move it away: the peers must then accept the new key.",
    )


def _write(path: Path, private: bytes) -> None:
    try:
        write_private(path, private)
    except StorageError as error:
        raise StoreError(f"{path} cannot be written: {error}", hint=HOME_HINT) from error
