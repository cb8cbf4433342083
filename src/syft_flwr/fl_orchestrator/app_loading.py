"""Loads the app of a project from its own folder, in its current state, as if the process had just started.

A process runs the apps of one project at a time (``docs/adr/0024-one-project-at-a-time.md``): Python has one table of
modules, and an app may import a module at any time, also in the middle of a message.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.project_modules import ProjectModules, SourceFinder, remove
from syft_flwr.flower import load_app


class _LoadedProject:
    """The project whose apps are in use."""

    def __init__(self, folder: Path, reference: str) -> None:
        self.modules = ProjectModules(folder)
        self.users = 0
        self._finder = SourceFinder(self.modules)
        self._place = str(folder.absolute())
        remove(self.modules.loaded())
        #: The modules of other folders that the project hides.
        self._hidden: dict[str, ModuleType] = self.modules.clashing(reference)
        remove(self._hidden)
        sys.path.insert(0, self._place)
        self._finder.open()
        self._stamps: dict[str, tuple[int, int]] = {}

    def load(self, reference: str, error: type[Exception]) -> Any:
        """Import the module of an app, and return the app."""
        app = load_app(reference, error, self._place)
        self._stamps = {**self.modules.stamps(self.modules.loaded().values()), **self._stamps}
        return app

    def has_changed(self) -> bool:
        """Return whether a source file differs from the one that was imported."""
        now = self.modules.stamps(self.modules.loaded().values())
        return any(now.get(path) != stamp for path, stamp in self._stamps.items())

    def close(self) -> None:
        """Restore the hidden modules and the import path. The other modules stay until the next project is loaded."""
        self._finder.close()
        if self._place in sys.path:
            sys.path.remove(self._place)
        if self._hidden:
            hidden = {name.partition(".")[0] for name in self._hidden}
            remove([name for name in self.modules.loaded() if name.partition(".")[0] in hidden])
            sys.modules.update(self._hidden)


class _Loading:
    """The state of this process. Thread-safe."""

    def __init__(self) -> None:
        # Reentrant, so that an app that starts a run while it is imported gets an error.
        self._lock = threading.RLock()
        self._project: _LoadedProject | None = None
        #: The project that was loaded last. Its modules may still be there.
        self._last: ProjectModules | None = None

    def enter(self, reference: str, folder: Path, error: type[Exception]) -> Any:
        with self._lock:
            project = self._project
            if project:
                self._check(project, folder)
            else:
                project = self._open(folder, reference)
            project.users += 1
            try:
                return project.load(reference, error)
            except BaseException:
                self.leave()
                raise

    def _open(self, folder: Path, reference: str) -> _LoadedProject:
        if self._last:
            remove(self._last.loaded())
        project = _LoadedProject(folder, reference)
        self._project, self._last = project, project.modules
        return project

    def _check(self, project: _LoadedProject, folder: Path) -> None:
        if project.modules.folder != folder.resolve():
            raise ConfigError(
                f"the app of {folder} cannot be loaded: this process runs the app of {project.modules.folder}, and a "
                "process runs one project at a time",
                hint="Start the second project in a process of its own, or after the end of the first one.",
            )
        if project.has_changed():
            raise ConfigError(
                f"the app of {folder} cannot be loaded: its code has changed, and this process still runs the former code",
                hint="Start it in a process of its own, or after the end of the first run.",
            )

    def leave(self) -> None:
        with self._lock:
            if project := self._project:
                project.users -= 1
                if not project.users:
                    project.close()
                    self._project = None


_LOADING = _Loading()


@contextmanager
def loaded_app(reference: str, folder: str | Path | None, error: type[Exception]) -> Iterator[Any]:
    """Import an app for the ``with`` block, and yield it.

    The block must contain each use of the app: after it, the next project may replace the modules.

    Args:
        reference: ``module:attribute`` of the app; the attribute may contain dots.
        folder: the folder of the project; None for a module that this process can import already.
        error: raised if the reference is not valid.

    Raises:
        ConfigError: this process runs the app of another project, or former code of this one.
        Exception: each error that the modules of the app raise.
    """
    if folder is None:
        yield load_app(reference, error)
        return
    app = _LOADING.enter(reference, Path(folder), error)
    try:
        yield app
    finally:
        _LOADING.leave()
