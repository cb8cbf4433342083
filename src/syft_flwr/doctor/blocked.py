"""Why a check cannot be made: the thing that is missing, and the check that tells the cause."""

import os
from pathlib import Path

from syft_flwr.fl_orchestrator.private_home import existing_folder

#: The checks that tell the cause, where several others wait for it.
SETTINGS, PROJECT, ROLE, KEYS, HOME_WRITES = "settings", "project", "role", "keys", "home-writes"
PEERS, PEERS_RUNNING, SYFTBOX_CLIENT, SYFTBOX_FOLDER = "peers", "peers-running", "syftbox-client", "syftbox-folder"
_NOT_STARTED = "this participant has not been started here yet"


class BlockedError(Exception):
    """A check cannot be made, because something that it needs is missing. The text tells which.

    Args:
        text: the thing that is missing.
        waits_for: the name of the check that tells the cause; empty if the cause is no fault.
    """

    def __init__(self, text: str, waits_for: str = "") -> None:
        super().__init__(text)
        self.waits_for = waits_for


def not_started(home: Path) -> BlockedError:
    """Return why a part of the home is missing: the first start creates it, if nothing keeps it from that."""
    place = existing_folder(home)
    is_free = place == home or not any(os.path.lexists(path) for path in folders_below(place, home))
    is_open = is_free and os.access(place, os.W_OK | os.X_OK)
    return BlockedError(_NOT_STARTED, "" if is_open else HOME_WRITES)


def folders_below(place: Path, home: Path) -> list[Path]:
    """Return the folders of the path of a home that do not exist, from the top."""
    return [path for path in reversed((home, *home.parents)) if path != place and path.is_relative_to(place)]
