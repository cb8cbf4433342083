"""Loads or creates ``identity.key``, the file with the private keys of the participant.

Only the user of this participant may read it. It is never in a synced folder.
"""

import os
import secrets
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

from syft_flwr.disk_errors import hint_of
from syft_flwr.errors import HOME_HINT, NotFoundError, StorageError, StoreError
from syft_flwr.files import read_bounded, write_private
from syft_flwr.locks import ProcessLock
from syft_flwr.private_files import open_private

_NAME = "identity.key"
_MAX_SIZE = 4096


def load_or_create(home: Path, create: Callable[[], bytes]) -> bytes:
    """Return the bytes of ``identity.key`` in ``home``. At the first use, write the result of ``create``.

    Raises:
        StoreError: other users can read the file, or it cannot be read or written.
    """
    path = Path(os.path.realpath(home)) / _NAME
    # An existing file is never replaced: peers would refuse the new keys.
    if not os.path.lexists(path):
        # Two processes may start at the same time; the second must use the keys of the first.
        with ProcessLock(path.with_suffix(".lock"), "the first start of this participant", wait=True):
            if not os.path.lexists(path):
                _require_modes(path.parent)
                _write(path, create())
    try:
        private = read_bounded(path, _MAX_SIZE)
    except StorageError as error:
        raise unusable_key_file(path.parent, error) from error
    if _is_open_to_others(path):
        _require_modes(path.parent)
        raise StoreError(f"{path} can be read by others", hint=f"Run: chmod 600 {shlex.quote(str(path))}")
    return private


def _is_open_to_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _require_modes(home: Path) -> None:
    """Raise StoreError if the file system of ``home`` ignores the mode of a file, such as FAT or some shared folders.

    There, other users could read the keys, and ``chmod`` would change nothing.
    """
    probe = home / f".{_NAME}.{secrets.token_hex(6)}.probe"
    try:
        with open(probe, "xb", opener=open_private):
            pass
        try:
            probe.chmod(0o600)
            keeps = not _is_open_to_others(probe)
        except PermissionError:
            # The answer of some of these file systems.
            keeps = False
        finally:
            probe.unlink()
    except OSError as error:
        raise StoreError(f"{home} cannot be used: {error.strerror}", hint=HOME_HINT) from error
    if not keeps:
        raise StoreError(
            f"{home} is on a file system that keeps no permissions of files, so others could read the keys there",
            hint="Set SYFT_FLWR_HOME to a folder on another file system, such as the disk of this machine.",
        )


def unusable_key_file(home: Path, error: Exception) -> StoreError:
    """Return the error for an ``identity.key`` in ``home`` that cannot be read, or has no keys.

    The keys may be whole in a file that cannot be read. Only a damaged one gets the advice to replace it.
    """
    path, reason = home / _NAME, error.__cause__
    if isinstance(reason, OSError) and not isinstance(error, NotFoundError):
        return StoreError(
            f"{path} cannot be read: {reason.strerror}",
            hint=f"Do not move it away: its keys may be whole. Correct its permissions: ls -l {shlex.quote(str(path))}"
            if isinstance(reason, PermissionError)
            else hint_of(reason),
        )
    return StoreError(
        f"{path} is not a key file: {error}",
        hint="Restore it from a backup. Without a backup, move it away: the peers must then accept the new key.",
    )


def _write(path: Path, private: bytes) -> None:
    try:
        # A person may restore a backup at this moment.
        write_private(path, private, replace=False)
    except StorageError as error:
        raise StoreError(f"{path} cannot be written: {error}", hint=HOME_HINT) from error
