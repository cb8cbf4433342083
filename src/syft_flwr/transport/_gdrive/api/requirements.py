"""Checks that Google's libraries are installed. They are an optional extra."""

from importlib.util import find_spec

from syft_flwr.errors import ConfigError

_NEEDED = ("google.auth", "google_auth_oauthlib", "googleapiclient", "httplib2")


def require_google() -> None:
    """Raise a ConfigError with the command to install them if Google's libraries are missing."""
    for name in _NEEDED:
        try:
            found = find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise ConfigError(
                f"Google Drive needs the Python package {name}, which is not installed",
                hint='In the folder from which you installed syft-flwr, run: pip install ".[gdrive]"',
            )
