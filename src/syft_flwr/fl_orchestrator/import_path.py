"""The import path of a worker: the standard library, then the folders of the app, then the installed packages.

So a ``random.py`` or ``queue.py`` of a person never replaces a module that this package and others need. A module of the
project still comes before an installed package of the same name.
"""

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

#: Names of the folders with installed packages.
_VARIABLE = "PYTHONPATH"
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def is_installed(path: Path) -> bool:
    """Return whether a path is in a folder with installed packages."""
    return not _INSTALLED.isdisjoint(path.parts)


def without_current_folder(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process that must not import from the current folder; it also needs the option ``-P``.

    An empty or relative part of ``PYTHONPATH`` can mean the current folder, before the standard library. Other relative
    parts become absolute.
    """
    changed = dict(environ)
    parts = changed.pop(_VARIABLE, "").split(os.pathsep)
    # A part with the full path of the current folder is a wish of the person.
    if kept := [str(Path(part).absolute()) for part in parts if os.path.normpath(part) != "."]:
        changed[_VARIABLE] = os.pathsep.join(kept)
    return changed


def own_folders() -> list[str]:
    """Return the folders from which this process imports, without the standard library and the installed packages.

    The current folder is one of them, because a notebook or a script imports from it.
    """
    paths = dict.fromkeys(str(Path(entry).absolute()) for entry in [*sys.path, ""])
    return [path for path in paths if not _is_standard(path) and not is_installed(Path(path))]


def import_from(folders: Sequence[str]) -> None:
    """Let this process import from ``folders``, after the standard library and before the installed packages."""
    others = [entry for entry in sys.path if entry not in folders]
    last = max((place for place, entry in enumerate(others) if _is_standard(entry)), default=-1)
    sys.path[:] = [*others[: last + 1], *folders, *others[last + 1 :]]


def _is_standard(entry: str) -> bool:
    path = Path(entry)
    if is_installed(path):
        return False
    # A built copy of the library may also be in a file such as python311.zip.
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return path.name == zipped or any(path.is_relative_to(folder) for folder in _standard_folders())


@cache
def _standard_folders() -> frozenset[str]:
    return frozenset({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
