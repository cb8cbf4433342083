"""A Flower project on disk: what ``[tool.flwr.app]`` in its ``pyproject.toml`` says."""

from dataclasses import dataclass
from pathlib import Path

from flwr.app import UserConfig
from flwr.serverapp import ServerApp

from syft_flwr.config.sources import parse_toml, read_project
from syft_flwr.errors import ConfigError
from syft_flwr.flower import flatten_dict, load_app


@dataclass(frozen=True, slots=True)
class FlowerProject:
    """The components and the run configuration of one project."""

    folder: Path
    server_app: str
    client_app: str
    run_config: UserConfig

    @classmethod
    def load(cls, project_dir: str | Path) -> "FlowerProject":
        """Read a project.

        Raises:
            ConfigError: no ``pyproject.toml``, broken TOML, or no components in it.
        """
        folder = Path(project_dir).resolve()
        path, text = read_project(folder)
        document = parse_toml(text, path)
        try:
            app = document["tool"]["flwr"]["app"]
            components = app["components"]
            return cls(folder, components["serverapp"], components["clientapp"], flatten_dict(app.get("config")))
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: [tool.flwr.app.components] with serverapp and clientapp is missing",
                hint="Is this a Flower project? `flwr new` makes one.",
            ) from error

    def load_server_app(self) -> ServerApp:
        """Import the ServerApp; ConfigError if the reference leads to none."""
        try:
            app = load_app(self.server_app, ConfigError, self.folder)
        except ImportError as error:
            raise ConfigError(
                f"{self.server_app} in {self.folder} cannot be imported: {error}",
                hint="Install what the project needs, and check [tool.flwr.app.components].",
            ) from error
        if not isinstance(app, ServerApp):
            raise ConfigError(f"{self.server_app} is a {type(app).__name__}, not a flwr ServerApp")
        return app
