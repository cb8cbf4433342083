"""A folder that is taken away from those who use it."""

import shutil
from pathlib import Path


def break_folder(folder: Path) -> None:
    """Remove a folder; if it is gone or was made again since, leave a file in its place."""
    marker = folder.with_name(f"{folder.name}.broken")
    shutil.rmtree(folder, ignore_errors=True)
    if marker.exists():
        folder.write_text("in the place of the folder")
    marker.touch()
