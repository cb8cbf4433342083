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

_MAX_SIZE = 4096


def load_or_create(home: Path, create: Callable[[], bytes]) -> bytes:
    """Return the bytes of ``identity.key`` in ``home``. At the first use, write the result of ``create``.

    Raises:
        StoreError: other users can read the file, or it cannot be read or written.
    """
    path = home.resolve() / "identity.key"
    # An existing file is never replaced: peers would refuse the new keys.
    if not os.path.lexists(path):
        # Two processes may start at the same time; the second must use the keys of the first.
        with ProcessLock(path.with_suffix(".lock"), "the first start of this participant", wait=True):
            if not os.path.lexists(path):
                _write(path, create())
    try:
        private = read_bounded(path, _MAX_SIZE)
    except StorageError as error:
        raise StoreError(
            f"{path} is not a key file: {error}",
            hint="Restore it from a backup, or move it away; the peers must then accept this participant's new key.",
        ) from error
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StoreError(f"{path} can be read by others", hint=f"Run: chmod 600 {path}")
    return private


def _write(path: Path, private: bytes) -> None:
    try:
        write_private(path, private)
    except StorageError as error:
        raise StoreError(f"{path} cannot be written: {error}", hint=HOME_HINT) from error
