"""Prepares a Flower project for syft-flwr; it stays a valid Flower app.

* Everything is checked before the first write. Each file is replaced atomically and keeps its mode.
* A second call with the same arguments changes nothing. With other participants, it changes only their entries.
* Comments, order and all other keys of ``pyproject.toml`` are kept (:mod:`syft_flwr._bootstrap.pyproject`).
* ``main.py`` contains a hash of its own text. So a file that a person wrote or edited is never overwritten.

    >>> bootstrap("diabetes", "ds@example.org", ["do1@example.org", "do2@example.org"])  # doctest: +SKIP
"""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syft_flwr._bootstrap import pyproject
from syft_flwr.config import sources
from syft_flwr.config.transport_table import parse_transport
from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError
from syft_flwr.files import open_folder, translate, write_in_folder
from syft_flwr.names import normalise_app_name
from syft_flwr.template import read_template

__all__ = ["bootstrap"]

_MARK = '# Written by "syft-flwr bootstrap" (text {digest}); put your own code into the package of the app.\n'
_MARKED = re.compile(re.escape(_MARK).replace(re.escape("{digest}"), "([0-9a-f]{16})"))
_COMPONENTS = ("serverapp", "clientapp")


def bootstrap(project_dir: str | Path, aggregator: str, datasites: Sequence[str], transport: str = "syftbox") -> Path:
    """Write ``main.py`` and ``[tool.syft_flwr]`` into a Flower project.

    The dependencies of the project are not changed: each participant installs this package in its own environment.

    Args:
        project_dir: the folder with the project's pyproject.toml.
        aggregator: email of the data scientist.
        datasites: emails of the data owners, at least one.
        transport: a name from :data:`syft_flwr.config.TRANSPORTS`.

    Returns:
        The project's folder, absolute.

    Raises:
        ConfigError: a participant or the transport is not allowed, the folder is not a Flower project, or a person
            wrote or edited its ``main.py``. No file was changed.
        StorageError: a file cannot be written.
    """
    wanted: dict[str, Any] = {
        "aggregator": normalise(aggregator, what="aggregator"),
        "datasites": normalise_all(datasites),
        "transport": parse_transport(transport, "transport"),
    }
    if not wanted["datasites"]:
        raise ConfigError("datasites: the list is empty", hint="Name at least one data owner by email.")
    project = Path(project_dir).expanduser().resolve()
    path, text = sources.read_project(project)
    old = sources.parse_toml(text, path)
    name = _require_flower_app(old, path)
    kept = sources.tool_table(old, path).get("app_name")
    if kept is None:
        wanted["app_name"] = _app_name_from(name)
    else:
        normalise_app_name(kept, what=f"app_name ({path} {sources.PROJECT_TABLE})")
    edited = pyproject.edit(text, old, wanted, path)
    main = project / "main.py"
    program = _render_main()
    _refuse_foreign_main(main, program)

    _replace(main, program)
    _replace(path.resolve(), edited)
    return project


def _require_flower_app(document: dict[str, Any], path: Path) -> str:
    """Return the name of the project; ConfigError if it lacks a name or a component of a Flower app."""
    hint = "Create a Flower app first, for example with `flwr new`."
    app: Any = document
    for key in ("tool", "flwr", "app", "components"):
        app = app.get(key, {}) if isinstance(app, dict) else {}
    for component in _COMPONENTS:
        reference = app.get(component) if isinstance(app, dict) else None
        if not isinstance(reference, str) or not re.fullmatch(r"[^:\s]+:[^:\s]+", reference):
            problem = "is missing" if reference is None else f"is {reference!r}, not of the form 'module:object'"
            raise ConfigError(f"{path}: {component} in [tool.flwr.app.components] {problem}", hint=hint)
    project = document.get("project")
    name = project.get("name") if isinstance(project, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{path}: name in [project] is missing", hint=hint)
    return name


def _app_name_from(project_name: str) -> str:
    """Return an app name made from the name of the project; ConfigError if too little of it is left."""
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]+", "-", project_name.strip()))
    return normalise_app_name(name.lstrip("_.-")[:64], what=f"app_name (made of the project's name {project_name!r})")


def _render_main() -> str:
    text = read_template("main.py.tpl")
    return _MARK.format(digest=_digest(text)) + text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refuse_foreign_main(main: Path, program: str) -> None:
    """Raise ConfigError if the existing main.py was not written by bootstrap, or was changed later."""
    if not os.path.lexists(main):
        return
    try:
        text = sources.read_text(main, what=str(main)).replace("\r\n", "\n")
    except ConfigError:
        text = ""
    mark = _MARKED.match(text)
    if main.is_symlink() or (text != program and not (mark and mark[1] == _digest(text[mark.end() :]))):
        state = "was changed since bootstrap wrote it" if mark else "was not written by bootstrap"
        raise ConfigError(f"{main} {state}", hint="Move it away or delete it, then run bootstrap again.")


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
