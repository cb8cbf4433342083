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
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.app_loading import loaded_app


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
            return cls(folder, components["serverapp"], components["clientapp"], project_run_config(document, path))
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: [tool.flwr.app.components] with serverapp and clientapp is missing",
                hint="Name the folder of a Flower project; `flwr new` creates one.",
            ) from error

    @contextmanager
    def loaded_server_app(self) -> Iterator[ServerApp]:
        """Import the ServerApp for the ``with`` block, and yield it.

        Raises:
            ConfigError: the reference names no ServerApp, or this process runs the app of another project.
        """
        with ExitStack() as loaded:
            try:
                app = loaded.enter_context(loaded_app(self.server_app, self.folder, ConfigError))
            except ImportError as error:
                raise ConfigError(
                    f"{self.server_app} in {self.folder} cannot be imported: {error}",
                    hint="Install the packages of the project, and check [tool.flwr.app.components].",
                ) from error
            if not isinstance(app, ServerApp):
                raise ConfigError(
                    f"{self.server_app} is a {type(app).__name__}, not a flwr ServerApp",
                    hint="Correct serverapp in [tool.flwr.app.components].",
                )
            yield app
