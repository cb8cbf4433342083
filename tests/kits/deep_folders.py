"""Folders below each other, deeper than a recursive function can follow."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def nested(folders: Sequence[Path], depth: int) -> Iterator[list[Path]]:
    """Make ``depth`` folders below each other in each of ``folders``, and yield the last ones; delete all at the end."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield [_make(folder, depth) for folder in folders]
    finally:
        for folder in folders:
            _remove(folder)


def _make(folder: Path, depth: int) -> Path:
    path = str(folder)
    for _ in range(depth):
        path += "/d"
        os.mkdir(path)
    return Path(path)


def _remove(folder: Path) -> None:
    """Delete a folder of any depth. ``shutil.rmtree`` is recursive before Python 3.13."""
    waiting = [str(folder)]
    for path in waiting:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    os.unlink(entry.path)
    for path in reversed(waiting):
        os.rmdir(path)
