"""Copies the checkout for a page: the files that git knows and new ones, so no environment and no results."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@cache
def _names() -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(name for name in listed.stdout.split("\0") if name)


def copy_checkout(target: Path) -> None:
    """Copy the checkout. A page changes only this copy, so it has no hard links."""
    for name in _names():
        # A file that is deleted here but not in git yet has no copy.
        if (source := ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
