"""The modules of one project folder: decides which modules are its own, and imports them from their current source.

Packages that are installed below the folder, such as those of a virtual environment in it, are not modules of the project.
"""

import importlib
import os
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

from syft_flwr.fl_orchestrator.import_path import is_installed

#: Modules that no project can replace: the program itself, this package, and Flower.
_KEPT = frozenset({"__main__", "syft_flwr", "flwr"})
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")


class ProjectModules:
    """The modules whose source is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        #: The folder with and without its symbolic links.
        self._roots = {folder.absolute(), self.folder}
        python = {Path(path) for path in (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())}
        #: Folders of the interpreter that are below the project.
        self._foreign = [path for path in python if self._roots.intersection(path.parents)]

    def loaded(self) -> dict[str, ModuleType]:
        """Return the imported modules of the project, by name."""
        # A thousand modules share a few hundred folders, and each part of a path costs a call of the system.
        owns_folder = cache(self.owns_path)
        return {
            name: module
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] not in _KEPT and self._owns(module, owns_folder)
        }

    def clashing(self, reference: str) -> dict[str, ModuleType]:
        """Return the imported modules of other folders that the project has under the same names.

        An installed package stays, except the one that ``reference`` names: it can be an old copy of the project.
        """
        found = dict.fromkeys(name.partition(".")[0] for name in list(sys.modules))
        wanted = reference.partition(":")[0].partition(".")[0]
        clashing = {
            name
            for name in found
            if name not in _KEPT and self._has(name) and _gives_way(sys.modules.get(name), wanted=name == wanted)
        }
        return {name: each for name, each in list(sys.modules.items()) if name.partition(".")[0] in clashing}

    def stamps(self, modules: Iterable[ModuleType]) -> dict[str, tuple[int, int]]:
        """Return the time and the size of the source of each module, by path."""
        return {path: _stamp(path) for module in modules for path in _sources(module) if Path(path).is_file()}

    def owns_path(self, path: str) -> bool:
        """Return whether a source file or a folder of a package belongs to the project."""
        return any(self._is_below(place) for place in {Path(path).absolute(), Path(path).resolve()})

    def _is_below(self, place: Path) -> bool:
        if any(place.is_relative_to(each) for each in self._foreign):
            return False
        below = [place.relative_to(root) for root in self._roots if place.is_relative_to(root)]
        return bool(below) and not is_installed(below[0])

    def _owns(self, module: ModuleType, owns_folder: Callable[[str], bool]) -> bool:
        paths = _sources(module)
        # A file belongs where its folder does; a link or a folder can lead to another place.
        return bool(paths) and all(
            owns_folder(os.path.split(path)[0]) if _is_file(path) else self.owns_path(path) for path in paths
        )

    def _has(self, name: str) -> bool:
        # A folder without __init__.py gives way to a regular package of the same name, so it hides none.
        return (self.folder / f"{name}.py").is_file() or (self.folder / name / "__init__.py").is_file()


def remove(names: Iterable[str]) -> None:
    """Remove modules, so that the next import loads them again."""
    for name in names:
        sys.modules.pop(name, None)
    # A file may be newer than the list of its folder that Python keeps.
    importlib.invalidate_caches()


class SourceFinder(MetaPathFinder):
    """Finds modules as Python does, but never uses the compiled file of a module of the project.

    Python compares the second and the size of the source with those in a compiled file. It would miss a change of the same
    size in the same second.
    """

    def __init__(self, modules: ProjectModules) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the project; None for every other module."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not self._modules.owns_path(spec.loader.path):
            return None
        spec.loader, spec.cached = _SourceLoader(spec.loader.name, spec.loader.path), None
        return spec

    def open(self) -> None:
        """Add this finder before that of Python."""
        places = [place for place, finder in enumerate(sys.meta_path) if finder is PathFinder]
        sys.meta_path.insert(places[0] if places else len(sys.meta_path), self)

    def close(self) -> None:
        """Remove this finder."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _SourceLoader(SourceFileLoader):
    def path_stats(self, path: str) -> dict[str, float]:
        """Raise OSError: without these facts, Python neither reads nor writes a compiled file."""
        raise OSError(f"{path} is always compiled")


def _sources(module: ModuleType | None) -> list[str]:
    """Return the source of a module, or the folders of a package without one; empty for a built-in module."""
    if module is None:
        return []
    source = getattr(module, "__file__", None)
    if isinstance(source, str):
        return [source]
    try:
        return [str(path) for path in getattr(module, "__path__", ())]
    except KeyError:
        # The folders of a namespace package come from its parent, which was removed.
        return []


def _is_file(path: str) -> bool:
    """Return whether a path is that of a file and of no link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _gives_way(module: ModuleType | None, *, wanted: bool) -> bool:
    """Return whether a module of another folder is replaced: never one of Python, and an installed one if it is wanted."""
    sources = [Path(path) for path in _sources(module)]
    if any(map(is_installed, sources)):
        return wanted
    return bool(sources) and not any(path.is_relative_to(_STANDARD_LIBRARY) for path in sources)


def _stamp(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size
