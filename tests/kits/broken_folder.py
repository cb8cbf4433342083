"""Remove a folder while a program uses it, and refuse deletions as a file system does that became read-only."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest


def break_folder(folder: Path) -> None:
    """Delete a folder; at the second call for the same folder, put a file in its place."""
    marker = folder.with_name(f"{folder.name}.broken")
    shutil.rmtree(folder, ignore_errors=True)
    if marker.exists():
        folder.write_text("in the place of the folder")
    marker.touch()


def refuse_to_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each deletion of a file fail in this process."""

    def refuse(path: Any, **_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "unlink", refuse)
