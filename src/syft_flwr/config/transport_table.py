"""The table of transports: how each is opened, and which settings belong to it.

A row names functions and imports none, so settings know every transport and load none. Rows stand in this table or are added by
code; the name of a function never comes from a file of a project or from a peer. A package of its own adds its row, and its
settings to :data:`~syft_flwr.config.search.FIELDS`, before settings are loaded:

    >>> TRANSPORTS["shelf"] = TransportRow("A shelf in the lab", "lab.shelf:open_shelf", required=("data_dir",))
    >>> parse_transport("shelf", "transport")
    'shelf'
    >>> del TRANSPORTS["shelf"]
"""

from dataclasses import dataclass
from typing import Any

from syft_flwr.config.values import choice


@dataclass(frozen=True, slots=True)
class TransportRow:
    """One transport; its name is the key in :data:`TRANSPORTS`."""

    #: For people.
    title: str
    #: ``module:function`` that opens a participant's end: ``open(settings, peers, live) -> Transport``.
    opener: str
    #: Settings without which it cannot be opened.
    required: tuple[str, ...] = ()
    #: Settings that belong to it, or that it reads as well.
    optional: tuple[str, ...] = ()
    #: The SyftBox client's config file names the participant.
    syftbox_config: bool = False
    #: ``module:class`` that takes its place in a simulated run, see ``simulation/stand_in.py``; empty if there is none.
    stand_in: str = ""


TRANSPORTS: dict[str, TransportRow] = {
    "syftbox": TransportRow(
        "SyftBox",
        "syft_flwr.transport.syftbox:open_syftbox",
        required=("data_dir",),
        optional=("poll_interval",),
        syftbox_config=True,
        stand_in="syft_flwr.simulation.local_folder:LocalFolder",
    ),
    "p2p": TransportRow(
        "Google Drive",
        "syft_flwr.transport.gdrive_opener:open_gdrive",
        optional=("poll_interval", "gdrive_token_path", "gdrive_client_secrets", "gdrive_api"),
        stand_in="syft_flwr.simulation.local_drive:LocalDrive",
    ),
}


def parse_transport(raw: Any, what: str) -> str:
    """Return the name of a transport; ConfigError if the table has no such row."""
    name: str = choice(*TRANSPORTS)(raw, what)
    return name


def labels() -> list[str]:
    """Return the transports for people, each with its name where that is not its title: ``Google Drive (p2p)``."""
    return [row.title if row.title.lower() == name else f"{row.title} ({name})" for name, row in TRANSPORTS.items()]
