"""A stand-in for SyftBox: separate data folders of several participants, kept in step by SyftBox's rules.

It takes the place of every participant's sync client and of the server between them, so that programs which talk
through SyftBox folders run on one machine as they do on many. What it copies from SyftBox is said, with the source, in
the module where it happens: ``push`` (real time), ``sync_scan`` (the rest), ``acl`` (permissions), ``sync_names`` (what is
never carried, how refused files are called).

::

    with SyftBoxNetwork(folder, ["ds@x.org", "do@y.org"], settings=SyncSettings(scan_interval=0.2)) as network:
        (network["do@y.org"].datasite / "public" / "hello.txt").write_text("hello")
        network.settle()
        assert (network["ds@x.org"].datasites / "do@y.org" / "public" / "hello.txt").exists()

Not copied: authentication, ``syftignore`` and subscription files, hotlinks, the limit of free disk space, and what
happens where one has a file and another a folder of the same name. ``python -m syft_flwr.emulators.syftbox`` runs it for
other processes.
"""

from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.network import SyftBoxNetwork
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import How, Record, SyncOutcome, Traffic

__all__ = ["How", "Link", "ParticipantHome", "Record", "SyftBoxNetwork", "SyncOutcome", "SyncSettings", "Traffic"]
