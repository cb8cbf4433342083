"""An emulator of SyftBox that synchronises the data folders of several participants by SyftBox's rules.

It replaces the sync client of every participant and the server between them. Programs that communicate through SyftBox
folders run on one machine as they do on many. Four modules copy rules of SyftBox and name their source:

* ``push``: files that are sent at once;
* ``sync_scan``: all other files;
* ``acl``: permissions;
* ``sync_names``: file names that are never synchronised, and the names of refused files.

::

    with SyftBoxNetwork(folder, ["ds@x.org", "do@y.org"], settings=SyncSettings(scan_interval=0.2)) as network:
        (network["do@y.org"].datasite / "public" / "hello.txt").write_text("hello")
        network.settle()
        assert (network["ds@x.org"].datasites / "do@y.org" / "public" / "hello.txt").exists()

Not copied: authentication, ``syftignore`` files and hotlinks. A file of one participant with the same name as a folder of
another is not handled either.

This guarded mode looks again before it changes a file, so that no race loses one. The real programs do not. The mode
``faithful`` of :class:`SyncSettings` follows them with all their races, limits and losses.

``python -m syft_flwr.emulators.syftbox`` runs the emulator for other processes, in both modes.
"""

from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.network import SyftBoxNetwork
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import How, Record, SyncOutcome, Traffic

__all__ = [
    "How",
    "Link",
    "ParticipantHome",
    "Record",
    "SyftBoxNetwork",
    "SyncOutcome",
    "SyncSettings",
    "Traffic",
    "Window",
]
