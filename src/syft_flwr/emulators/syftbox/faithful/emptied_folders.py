"""The removal of the folders that the deletions of a cycle have emptied (``cleanupEmptyParentDirs``)."""

import contextlib
import shutil
from pathlib import Path

#: Files of other systems. They are deleted, but a folder that had one stays until the next deletion in it.
_GARBAGE = frozenset({".DS_Store", "Thumbs.db"})


def remove_emptied(root: Path, folder: str) -> None:
    """Delete a folder below ``root`` if it is empty, then each parent that becomes empty.

    Any entry keeps a folder: a file that is never synced, a link or an empty folder. A folder that is gone, or that
    cannot be read or deleted, ends the removal.
    """
    with contextlib.suppress(OSError):
        while folder and not _clean(root / folder):
            (root / folder).rmdir()
            folder = folder.rpartition("/")[0]


def _clean(folder: Path) -> list[str]:
    """Delete garbage; return the entries from before."""
    if folder.is_symlink():
        return [folder.name]
    entries = [path.name for path in folder.iterdir()]
    for entry in _GARBAGE.intersection(entries):
        with contextlib.suppress(OSError):
            _delete(folder / entry)
    return entries


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
