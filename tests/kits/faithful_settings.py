"""The settings of the faithful SyftBox emulator for tests: short cycles, and a lock that needs a large disk."""

import shutil
from pathlib import Path

from syft_flwr.emulators.syftbox import SyncSettings
from syft_flwr.transport._syftbox.daemon import RESERVE

#: Seconds between two scans of a sync client, in place of the 5 s of SyftBox.
CYCLE = 0.2


def faithful_settings(folder: Path) -> SyncSettings:
    """Return the settings for a network in a folder.

    Our programs keep the room free that a running client needs. On a smaller disk, no client shows that it runs.
    """
    return SyncSettings(
        faithful=True, debounce=0, scan_interval=CYCLE, lock=shutil.disk_usage(folder).free > 2 * RESERVE
    )
