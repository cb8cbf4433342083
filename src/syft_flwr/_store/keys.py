"""The participant's private keys: one file that only its owner may read, never in a synced folder."""

import stat
from collections.abc import Callable
from pathlib import Path

from syft_flwr._store.locks import ProcessLock
from syft_flwr.errors import NotFoundError, StoreError
from syft_flwr.files import read_bounded, write_private

_MAX_SIZE = 4096


def load_or_create(home: Path, create: Callable[[], bytes]) -> bytes:
    """Return the bytes of ``identity.key`` in ``home``; at first use, those that ``create`` makes.

    Raises:
        StoreError: others may read the file.
    """
    path = home / "identity.key"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        private = read_bounded(path, _MAX_SIZE)
    except NotFoundError:
        # Two processes may start at once; the second must take the keys of the first.
        with ProcessLock(home / "identity.lock", "the first start of this participant", wait=True):
            if not path.exists():
                write_private(path, create())
        private = read_bounded(path, _MAX_SIZE)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StoreError(f"{path} can be read by others", hint=f"Run: chmod 600 {path}")
    return private
