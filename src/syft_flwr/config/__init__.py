"""The settings of a participant, read once and passed on as an argument.

The first source that has a value wins: an argument, the environment, ``[tool.syft_flwr]`` in the pyproject.toml of the
project, the config file of the SyftBox client, the default. Each setting remembers its source, and every error names it.

    >>> settings = load_settings(environ={"SYFTBOX_EMAIL": "Ann@example.org", "SYFT_FLWR_TRANSPORT": "p2p"})
    >>> settings.email, settings.transport
    ('ann@example.org', 'p2p')
"""

from syft_flwr.config.search import Setting
from syft_flwr.config.settings import Settings, load_settings
from syft_flwr.config.transport_table import TRANSPORTS, TransportRow
from syft_flwr.config.values import ROLES

__all__ = ["ROLES", "TRANSPORTS", "Setting", "Settings", "TransportRow", "load_settings"]
