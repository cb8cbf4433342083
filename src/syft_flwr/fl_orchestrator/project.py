"""Reads a Flower project from disk: the table ``[tool.flwr.app]`` of its ``pyproject.toml``."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flwr.app import UserConfig
from flwr.serverapp import ServerApp

from syft_flwr.config.run_config import project_run_config
from syft_flwr.config.sources import parse_toml, read_project
from syft_flwr.config.values import utf8_path
from syft_flwr.errors import AppLoadError, ConfigError, SyftFlwrError
from syft_flwr.fl_orchestrator.app_exceptions import exit_status, text_of, traceback_of
from syft_flwr.fl_orchestrator.app_loading import loaded_app
from syft_flwr.log import logger
from syft_flwr.shutdown import Terminated
from syft_flwr.text import is_visible

#: Characters of a reference to an app.
_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class FlowerProject:
    """The components and the run configuration of one project."""

    folder: Path
    server_app: str
    client_app: str
    run_config: UserConfig

    @classmethod
    def load(cls, project_dir: str | Path) -> "FlowerProject":
        """Read the project in the folder ``project_dir``.

        Raises:
            ConfigError: ``pyproject.toml`` is missing, is broken TOML, or does not name both components; or its run
                configuration has a value that is not allowed.
        """
        folder = utf8_path(Path(os.path.realpath(project_dir)), "the project")
        path, text = read_project(folder)
        document = parse_toml(text, path)
        try:
            app = document["tool"]["flwr"]["app"]
            components = app["components"]
            server_app, client_app = (_reference(components[kind]) for kind in ("serverapp", "clientapp"))
            return cls(folder, server_app, client_app, project_run_config(document, path))
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: [tool.flwr.app.components] with serverapp and clientapp is missing",
                hint="Name the folder of a Flower project; `flwr new` creates one.",
            ) from error

    @contextmanager
    def loaded_server_app(self) -> Iterator[ServerApp]:
        """Import the ServerApp for the ``with`` block, and yield it.

        Raises:
            AppLoadError: the app cannot be imported, or the reference names no ServerApp.
            ConfigError: this process runs the app of another project.
        """
        with ExitStack() as loaded:
            try:
                app = loaded.enter_context(loaded_app(self.server_app, self.folder, AppLoadError))
            except (SyftFlwrError, KeyboardInterrupt, Terminated):
                raise
            except BaseException as error:
                # Code of the user, which may raise anything on import.
                if not isinstance(error, ImportError):
                    logger.error("the ServerApp cannot be loaded:\n{}", traceback_of(error))
                raise AppLoadError(
                    f"{self.server_app} in {self.folder} cannot be imported: {_cause(error)}",
                    hint="Correct the app, or install the packages of the project; the reference is in "
                    "[tool.flwr.app.components].",
                ) from error
            if not isinstance(app, ServerApp):
                raise AppLoadError(
                    f"{self.server_app} is a {type(app).__name__}, not a flwr ServerApp",
                    hint="Correct serverapp in [tool.flwr.app.components].",
                )
            yield app


def _reference(value: object) -> str:
    """Return a reference such as ``module:app``; TypeError if it can be none."""
    if not isinstance(value, str) or not is_visible(value) or len(value) > _LONGEST:
        raise TypeError("a reference is a short text")
    return value


def _cause(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended the process while it was loaded (exit status {exit_status(error)})"
    return text_of(error)
