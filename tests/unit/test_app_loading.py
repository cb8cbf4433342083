"""Each project gets its own modules, in their current state, and a process runs one project at a time."""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.app_loading import loaded_app
from syft_flwr.fl_orchestrator.project_modules import ProjectModules

#: A module that imports at each call, as apps do inside of a training function.
_APP = """\
from loaded_pkg.base import BASE


def app():
    from loaded_pkg.lazy import NAME
    return BASE, NAME
"""
REFERENCE = "loaded_pkg.app:app"


@pytest.fixture(autouse=True)
def clean_modules() -> Iterator[None]:
    """Remove the modules of the projects, and check that the import path is as before."""
    path, finders = list(sys.path), list(sys.meta_path)
    yield
    assert (sys.path, sys.meta_path) == (path, finders)
    for name in [name for name in sys.modules if name.startswith("loaded_")]:
        del sys.modules[name]


Make = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a project whose modules contain its name."""

    def write(name: str) -> Path:
        package = tmp_path / name / "loaded_pkg"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "app.py").write_text(_APP)
        (package / "base.py").write_text(f"BASE = {name!r}\n")
        (package / "lazy.py").write_text(f"NAME = {name!r}\n")
        return tmp_path / name

    return write


def result(folder: Path, reference: str = REFERENCE) -> Any:
    with loaded_app(reference, folder, ConfigError) as app:
        return app()


def test_second_project_gets_its_own_modules(make: Make) -> None:
    one, two = make("one"), make("two")

    assert [result(folder) for folder in (one, two, one)] == [("one",) * 2, ("two",) * 2, ("one",) * 2]


@pytest.mark.parametrize("code", ["BASE = 'new'\n", "BASE = 'one-and-more'\n"])
def test_edited_code_is_loaded_again(code: str, make: Make) -> None:
    folder = make("one")
    result(folder)

    (folder / "loaded_pkg" / "base.py").write_text(code)

    assert result(folder)[0] == code.split("'")[1]


def test_edit_of_equal_size_and_time_is_loaded_again(make: Make) -> None:
    folder = make("one")
    path = folder / "loaded_pkg" / "base.py"
    with loaded_app(REFERENCE, folder, ConfigError):
        pass
    stamp = path.stat()
    # As another process would compile it.
    import py_compile

    py_compile.compile(str(path))

    path.write_text(path.read_text().replace("one", "two"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert result(folder)[0] == "two"


def test_new_module_in_a_known_folder_is_found(make: Make) -> None:
    folder = make("one")
    result(folder)

    (folder / "loaded_pkg" / "later.py").write_text("def app():\n    return 'later'\n")

    assert result(folder, "loaded_pkg.later:app") == "later"


def test_second_project_is_refused_while_one_runs(make: Make) -> None:
    one, two = make("one"), make("two")
    with loaded_app(REFERENCE, one, ConfigError) as app:
        with (
            pytest.raises(ConfigError, match="one project at a time") as refused,
            loaded_app(REFERENCE, two, ConfigError),
        ):
            pass
        # The lazy import still finds the module of its own project.
        assert app() == ("one", "one")

    assert "process of its own" in str(refused.value.hint)
    assert result(two) == ("two", "two")


def test_same_project_can_be_loaded_while_it_runs(make: Make) -> None:
    folder = make("one")
    with loaded_app(REFERENCE, folder, ConfigError) as first, loaded_app(REFERENCE, folder, ConfigError) as second:
        assert first is second


def test_changed_code_is_refused_while_the_former_runs(make: Make) -> None:
    folder = make("one")
    with loaded_app(REFERENCE, folder, ConfigError) as app:
        (folder / "loaded_pkg" / "base.py").write_text("BASE = 'changed'\n")
        with pytest.raises(ConfigError, match="code has changed"), loaded_app(REFERENCE, folder, ConfigError):
            pass
        assert app() == ("one", "one")

    assert result(folder) == ("changed", "one")


def test_threads_that_load_at_once_get_their_own_or_an_error(make: Make) -> None:
    folders = [make(name) for name in ("one", "two", "three")]
    results: dict[str, Any] = {}
    together = threading.Barrier(len(folders))

    def load(folder: Path) -> None:
        together.wait()
        try:
            results[folder.name] = result(folder)
        except ConfigError as error:
            results[folder.name] = error

    threads = [threading.Thread(target=load, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == len(folders)
    served = {name: found for name, found in results.items() if not isinstance(found, ConfigError)}
    assert served
    assert all(found == (name, name) for name, found in served.items())


def test_failed_import_is_tried_again(make: Make) -> None:
    folder = make("one")
    good = (folder / "loaded_pkg" / "app.py").read_text()
    (folder / "loaded_pkg" / "app.py").write_text("from loaded_pkg import base\nraise SystemExit(3)\n")
    with pytest.raises(SystemExit), loaded_app(REFERENCE, folder, ConfigError):
        pass

    (folder / "loaded_pkg" / "app.py").write_text(good)

    assert result(folder) == ("one", "one")


def test_module_of_the_caller_comes_back_after_the_run(make: Make, tmp_path: Path) -> None:
    folder = make("one")
    (tmp_path / "loaded_help.py").write_text("NAME = 'of the caller'\n")
    (folder / "loaded_help.py").write_text("NAME = 'of the project'\n")
    (folder / "loaded_pkg" / "app.py").write_text("from loaded_help import NAME\n\n\ndef app():\n    return NAME\n")
    sys.path.insert(0, str(tmp_path))
    try:
        before = importlib.import_module("loaded_help")
        assert result(folder) == "of the project"
        assert sys.modules["loaded_help"] is before
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize("place", ["site-packages", ".venv/lib/python3/site-packages"])
def test_installed_package_is_kept(place: str, make: Make) -> None:
    folder = make("one")
    installed = folder / place
    installed.mkdir(parents=True)
    (installed / "loaded_installed.py").write_text("NAME = 'installed'\n")
    sys.path.insert(0, str(installed))
    try:
        before = importlib.import_module("loaded_installed")
        for _ in range(2):
            result(folder)
            assert sys.modules["loaded_installed"] is before
    finally:
        sys.path.remove(str(installed))


def test_installed_copy_of_the_project_gives_way(make: Make, tmp_path: Path) -> None:
    installed, folder = tmp_path / "site-packages", make("one")
    (installed / "loaded_pkg").mkdir(parents=True)
    (installed / "loaded_pkg" / "__init__.py").touch()
    (installed / "loaded_pkg" / "app.py").write_text("def app():\n    return 'installed'\n")
    sys.path.insert(0, str(installed))
    try:
        importlib.import_module("loaded_pkg.app")
        assert result(folder) == ("one", "one")
    finally:
        sys.path.remove(str(installed))


def test_standard_library_stays_under_its_name(make: Make) -> None:
    import random

    folder = make("one")
    (folder / "random.py").write_text("raise ValueError('not the standard library')\n")

    assert result(folder) == ("one", "one")
    assert sys.modules["random"] is random


def test_source_folder_of_an_editable_install_is_loaded_again(make: Make) -> None:
    folder = make("one")
    (folder / "src").mkdir()
    (folder / "loaded_pkg").rename(folder / "src" / "loaded_pkg")
    sys.path.insert(0, str(folder / "src"))
    try:
        assert result(folder) == ("one", "one")
        (folder / "src" / "loaded_pkg" / "lazy.py").write_text("NAME = 'edited'\n")
        assert result(folder) == ("one", "edited")
    finally:
        sys.path.remove(str(folder / "src"))


def test_namespace_package_is_that_of_the_project(make: Make) -> None:
    folders = [make("one"), make("two")]
    for folder in folders:
        (folder / "loaded_pkg" / "__init__.py").unlink()

    assert [result(folder)[0] for folder in folders] == ["one", "two"]


def test_relative_imports_and_dotted_attributes_work(make: Make) -> None:
    folder = make("one")
    code = "from .base import BASE\n\n\nclass Apps:\n    @staticmethod\n    def app():\n        from . import lazy\n"
    (folder / "loaded_pkg" / "app.py").write_text(f"{code}        return BASE, lazy.NAME\n")

    assert result(folder, "loaded_pkg.app:Apps.app") == ("one", "one")


def test_objects_can_be_pickled_by_the_name_of_their_module(make: Make) -> None:
    import pickle

    for folder in (make("one"), make("two")):
        (folder / "loaded_pkg" / "base.py").write_text(f"BASE = {folder.name!r}\n\n\nclass Model:\n    place = BASE\n")
        with loaded_app("loaded_pkg.base:Model", folder, ConfigError) as model:
            assert type(pickle.loads(pickle.dumps(model()))) is model
            assert model.place == folder.name


def test_linked_package_belongs_to_the_project(make: Make, tmp_path: Path) -> None:
    one, two, shared = make("one"), make("two"), tmp_path / "shared"
    (one / "loaded_pkg").rename(shared)
    (one / "loaded_pkg").symlink_to(shared)

    assert [result(folder)[0] for folder in (one, two, one)] == ["one", "two", "one"]
    (shared / "base.py").write_text("BASE = 'edited'\n")
    assert result(one)[0] == "edited"


def test_link_to_a_module_of_the_project_belongs_to_it(make: Make, tmp_path: Path) -> None:
    project, elsewhere = make("one"), tmp_path / "elsewhere"
    (project / "loaded_linked.py").touch()
    elsewhere.mkdir()
    (elsewhere / "loaded_linked.py").symlink_to(project / "loaded_linked.py")
    (elsewhere / "loaded_other.py").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(elsewhere)
        for name in ("loaded_linked", "loaded_other"):
            importlib.import_module(name)

    assert set(ProjectModules(project).loaded()) == {"loaded_linked"}


@pytest.mark.parametrize("reference", ["loaded_pkg.app", "loaded_pkg.app:", "", "loaded_pkg.app:nothing"])
def test_bad_reference_raises_the_given_error(reference: str, make: Make) -> None:
    with pytest.raises(KeyError), loaded_app(reference, make("one"), KeyError):
        pass
