"""Prepares a Flower project for syft-flwr; it stays a valid Flower app.

* Everything is checked before the first write. Each file is replaced atomically and keeps its mode.
* A second call with the same arguments changes nothing. With other participants, it changes only their entries.
* Comments, order and all other keys of ``pyproject.toml`` are kept (:mod:`syft_flwr._bootstrap.pyproject`).
* A ``main.py`` that a person wrote or edited is never overwritten (:mod:`syft_flwr._bootstrap.main_program`).
* A project of syft-flwr 0.5 becomes one of this release, with a line for each step (docs/coming-from/syft-flwr-0.5.md).

    >>> bootstrap("diabetes", "ds@example.org", ["do1@example.org", "do2@example.org"])  # doctest: +SKIP
"""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syft_flwr._bootstrap import pyproject
from syft_flwr._bootstrap.main_program import MAIN, is_old_main, refuse_foreign_main, render_main
from syft_flwr._bootstrap.old_release import dependency_notes
from syft_flwr.app_names import normalise_app_name, rename_old
from syft_flwr.config import sources
from syft_flwr.config.transport_table import default_transport, parse_transport
from syft_flwr.disk_errors import told
from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError
from syft_flwr.files import open_folder, translate, write_in_folder
from syft_flwr.log import logger
from syft_flwr.old_arguments import takes_old_arguments

__all__ = ["bootstrap"]

_COMPONENTS = ("serverapp", "clientapp")


@takes_old_arguments({"flwr_project_dir": "project_dir"})
def bootstrap(project_dir: str | Path, aggregator: str, datasites: Sequence[str], transport: str | None = None) -> Path:
    """Write ``main.py`` and ``[tool.syft_flwr]`` into a Flower project, and log a line for each change of an old project.

    The dependencies of the project are not changed: each participant installs this package in its own environment.

    Args:
        project_dir: the folder with the project's pyproject.toml.
        aggregator: email of the data scientist.
        datasites: emails of the data owners, at least one.
        transport: ``syftbox`` or ``p2p``; by default that of the project, else ``p2p`` in
            Google Colab and ``syftbox`` elsewhere.

    Returns:
        The project's folder, absolute.

    Raises:
        ConfigError: a participant or the transport is not allowed, the folder is not a Flower project, or a person
            wrote or edited its ``main.py``. No file was changed.
        StorageError: a file cannot be written.
    """
    prepared = prepare_project(project_dir, aggregator, datasites, transport)
    for note in prepared.notes:
        logger.warning("{}", note)
    return prepared.folder


@dataclass(frozen=True, slots=True)
class PreparedProject:
    """A project after bootstrap, and the lines that a person must read."""

    folder: Path
    notes: tuple[str, ...]


@told()
def prepare_project(
    project_dir: str | Path, aggregator: str, datasites: Sequence[str], transport: str | None
) -> PreparedProject:
    """Write the files as :func:`bootstrap` does, with its arguments and errors; return the lines instead of logging them."""
    wanted: dict[str, Any] = {
        "aggregator": normalise(aggregator, what="aggregator"),
        "datasites": normalise_all(datasites),
    }
    if not wanted["datasites"]:
        raise ConfigError("datasites: the list is empty", hint="Name at least one data owner by email.")
    if transport is not None:
        wanted["transport"] = parse_transport(transport, "transport")
    project = Path(os.path.realpath(Path(project_dir).expanduser()))
    path, text = sources.read_project(project)
    old = sources.parse_toml(text, path)
    name = _require_flower_app(old, path)
    table = sources.tool_table(old, path)
    if transport is None:
        kept_transport = table.get("transport", default_transport())
        wanted["transport"] = parse_transport(kept_transport, f"transport ({path} {sources.PROJECT_TABLE})")
    notes = []
    kept = table.get("app_name")
    if kept is None:
        wanted["app_name"] = _app_name_from(name)
    else:
        normalise_app_name(kept, what=f"app_name ({path} {sources.PROJECT_TABLE})")
        if renamed := rename_old(kept):
            wanted["app_name"] = renamed
            notes.append(
                f"The app_name {kept!r} of syft-flwr 0.5 is now {renamed!r}, for every participant with this project."
            )
    edited = pyproject.edit(text, old, wanted, path)
    main = project / MAIN
    program = render_main()
    is_new = not os.path.lexists(main)
    refuse_foreign_main(main, program)
    if is_old_main(main):
        notes.append(f"The {MAIN} of an earlier release of syft-flwr was replaced.")

    if not is_new:
        _replace(main, program)
    elif not _create(main, program):
        # It appeared after the check.
        refuse_foreign_main(main, program)
    _replace(Path(os.path.realpath(path)), edited)
    return PreparedProject(project, (*notes, *dependency_notes(old)))


def _require_flower_app(document: dict[str, Any], path: Path) -> str:
    """Return the name of the project; ConfigError if it lacks a name or a component of a Flower app."""
    hint = "Create a Flower app first, for example with `flwr new`."
    components = sources.table_at(document, "tool", "flwr", "app", "components")
    for component in _COMPONENTS:
        reference = components.get(component)
        if not isinstance(reference, str) or not re.fullmatch(r"[^:\s]+:[^:\s]+", reference):
            problem = "is missing" if reference is None else f"is {reference!r}, not of the form 'module:object'"
            raise ConfigError(f"{path}: {component} in [tool.flwr.app.components] {problem}", hint=hint)
    name = sources.table_at(document, "project").get("name")
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{path}: name in [project] is missing", hint=hint)
    return name


def _app_name_from(project_name: str) -> str:
    """Return an app name made from the name of the project; ConfigError if too little of it is left."""
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", project_name.strip()))
    return normalise_app_name(name.lstrip("_.-")[:64], what=f"app_name (made of the project's name {project_name!r})")


def _create(path: Path, text: str) -> bool:
    """Write a new file; return False if something has its name."""
    with open_folder(path.parent, ()) as folder:
        try:
            write_in_folder(folder, path.name, text.encode(), mode=0o666, replace=False)
        except FileExistsError:
            return False
        except OSError as error:
            raise translate(error, str(path)) from error
    return True


def _replace(path: Path, text: str) -> None:
    """Write ``text`` to the file, if its content differs; an existing file keeps its mode."""
    data = text.encode()
    try:
        before = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        before, mode = None, None
    if before == data:
        return
    with open_folder(path.parent, ()) as folder:
        try:
            write_in_folder(folder, path.name, data, mode=0o666 if mode is None else mode)
            if mode is not None:
                # The umask has removed bits from the mode at the creation.
                os.chmod(path.name, mode, dir_fd=folder)
        except OSError as error:
            raise translate(error, str(path)) from error
