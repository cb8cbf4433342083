"""The log files of a local run. A person chooses their folder, so only files with the first line of this module are replaced."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from syft_flwr.errors import ConfigError
from syft_flwr.files import move_to_free, open_folder

#: The first line of each log.
MARK = b"# Written by syft-flwr run; a later run replaces this log as long as this line stands here.\n"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def require_own(path: Path) -> None:
    """Raise ConfigError if something has the place of a log, and no earlier run wrote it."""
    if os.path.lexists(path) and not _is_own(path):
        raise ConfigError(
            f"{path} exists and is no log of an earlier run, so it is not replaced",
            hint="Choose another folder for the logs, or move this file away.",
        )


def _is_own(path: Path) -> bool:
    try:
        fd = os.open(path, _READ)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, len(MARK)) == MARK
    finally:
        os.close(fd)


def open_log(path: Path) -> BinaryIO:
    """Create a log with its first line, in place of that of an earlier run.

    Raises:
        ConfigError: another program wrote a file there.
        OSError: the log cannot be created.
    """
    require_own(path)
    # Not truncated: an earlier run may still write to its log.
    path.unlink(missing_ok=True)
    # With its name, the file has its first line, also after a kill: the next run must know it as an own one.
    begun = _temporary(path)
    with contextlib.ExitStack() as undo, open_folder(path.parent, ()) as folder:
        undo.callback(begun.unlink, missing_ok=True)
        file = undo.enter_context(begun.open("xb", buffering=0))
        file.write(MARK)
        try:
            move_to_free(begun.name, path.name, folder, folder)
        except FileExistsError:
            # It appeared after the check.
            require_own(path)
            raise
        undo.pop_all()
    return file


def rewrite(path: Path, changed: Callable[[bytes], bytes]) -> None:
    """Change each further line of a log that no process writes any more; a log that cannot be rewritten stays as it is."""
    clean = _temporary(path)
    with contextlib.suppress(OSError), contextlib.ExitStack() as at_the_end:
        at_the_end.callback(clean.unlink, missing_ok=True)
        if not _is_own(path):
            return
        with path.open("rb") as file:
            if all(changed(line) == line for line in file):
                return
            file.seek(len(MARK))
            with clean.open("xb") as cleaned:
                cleaned.write(MARK)
                cleaned.writelines(map(changed, file))
        clean.replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
