"""Remove a folder while a program uses it."""

import shutil
from pathlib import Path


def break_folder(folder: Path) -> None:
    """Delete a folder; at the second call for the same folder, put a file in its place."""
    marker = folder.with_name(f"{folder.name}.broken")
    shutil.rmtree(folder, ignore_errors=True)
    if marker.exists():
        folder.write_text("in the place of the folder")
    marker.touch()
