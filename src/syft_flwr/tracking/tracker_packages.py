"""The trackers by their names in the setting ``tracking``, and the check that each of them can be used here."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from syft_flwr.errors import ConfigError
from syft_flwr.tracking.mlflow_tracker import URI
from syft_flwr.tracking.places import TITLES

#: The package that a tracker needs.
_PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}


def require_trackers(names: Iterable[str], environ: Mapping[str, str]) -> None:
    """Check that each tracker can be used: its package is installed, and MLflow has an address.

    Raises:
        ConfigError: one cannot be used. The hint says what to do.
    """
    for name in names:
        package, title = _PACKAGES[name], TITLES[name]
        if find_spec(package) is None:
            raise ConfigError(
                f"tracking with {title} needs the Python package {package}, which is not installed",
                hint=f'In the folder from which you installed syft-flwr, run: pip install ".[{name}]"',
            )
        if name == "mlflow" and not environ.get(URI, "").strip():
            raise ConfigError(
                f"tracking with MLflow: {URI} is not set",
                hint=f"Set it to the address of your server, such as {URI}=http://127.0.0.1:5000, or to a folder.",
            )
