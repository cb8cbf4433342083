"""The table of transports: the function that opens each one, and its settings.

A row holds the names of functions. Settings can thus list every transport without importing it. Rows are written in this
table or added by code; a function name never comes from a project file or from a peer. Another package can add a row
here, and its settings to :data:`~syft_flwr.config.search.FIELDS`, before it loads settings:

    >>> TRANSPORTS["shelf"] = TransportRow("A shelf in the lab", "lab.shelf:open_shelf", required=("data_dir",))
    >>> parse_transport("shelf", "transport")
    'shelf'
    >>> del TRANSPORTS["shelf"]
"""

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

from syft_flwr.config.values import choice


@dataclass(frozen=True, slots=True)
class TransportRow:
    """One transport. Its name is the key in :data:`TRANSPORTS`."""

    #: The name that people see.
    title: str
    #: ``module:function`` that opens the transport for a participant: ``open(settings, peers, live) -> Transport``.
    opener: str
    #: Settings that must be set to open it.
    required: tuple[str, ...] = ()
    #: Other settings that it reads.
    optional: tuple[str, ...] = ()
    #: Whether the config file of the SyftBox client names the participant.
    syftbox_config: bool = False
    #: ``module:class`` that replaces it in a simulated run, see ``simulation/stand_in.py``; empty: not possible.
    stand_in: str = ""
    #: ``module:function`` that checks the service before a participant starts: ``check(settings, peers)``. It logs
    #: warnings, and raises an error if the service cannot work. Empty: nothing to check.
    checks: str = ""


TRANSPORTS: dict[str, TransportRow] = {
    "syftbox": TransportRow(
        "SyftBox",
        "syft_flwr.transport.syftbox:open_syftbox",
        required=("data_dir",),
        optional=("poll_interval",),
        syftbox_config=True,
        stand_in="syft_flwr.simulation.local_folder:LocalFolder",
        checks="syft_flwr.transport._syftbox.start_checks:check_syftbox",
    ),
    "p2p": TransportRow(
        "Google Drive",
        "syft_flwr.transport.gdrive_opener:open_gdrive",
        optional=(
            "poll_interval",
            "gdrive_token_path",
            "gdrive_client_secrets",
            "gdrive_api",
            "gdrive_timeout",
            "gdrive_concurrency",
        ),
        stand_in="syft_flwr.simulation.local_drive:LocalDrive",
    ),
}


def parse_transport(raw: Any, what: str) -> str:
    """Return ``raw`` if it is the name of a transport in the table; otherwise raise ConfigError."""
    name: str = choice(*TRANSPORTS)(raw, what)
    return name


def default_transport() -> str:
    """Return the transport of a participant that chose none: ``p2p`` in Google Colab, where no SyftBox client can run."""
    return "p2p" if _in_colab() else "syftbox"


def _in_colab() -> bool:
    """Return whether this is Google Colab. Its package is searched, but neither it nor its parent is imported."""
    if "google.colab" in sys.modules:
        return True
    try:
        parent = find_spec("google")
    except ValueError:
        # A program put a module without a spec into its place.
        return False
    places = parent.submodule_search_locations if parent else None
    return places is not None and PathFinder.find_spec("google.colab", places) is not None


def labels() -> list[str]:
    """Return the titles of the transports. A title that differs from the name shows both: ``Google Drive (p2p)``."""
    return [row.title if row.title.lower() == name else f"{row.title} ({name})" for name, row in TRANSPORTS.items()]
