"""A stand-in for SyftBox: separate data folders of several participants, kept in step by SyftBox's rules.

It takes the place of every participant's sync client and of the server between them, so that programs which talk
through SyftBox folders run on one machine as they do on many. What it copies from SyftBox is said, with the source, in
the module where it happens: ``push`` (real time), ``scan`` (the rest), ``acl`` (permissions), ``names`` (what is never
carried, how refused files are called).

::

    with SyftBoxNetwork(folder, ["ds@x.org", "do@y.org"], settings=Settings(scan_interval=0.2)) as network:
        (network["do@y.org"].datasite / "public" / "hello.txt").write_text("hello")
        network.settle()
        assert (network["ds@x.org"].datasites / "do@y.org" / "public" / "hello.txt").exists()

Not copied: authentication, ``syftignore`` and subscription files, hotlinks, the limit of free disk space, and what
happens where one has a file and another a folder of the same name. ``python -m syft_flwr.emulators.syftbox`` runs it for
other processes.
"""

from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.network import SyftBoxNetwork
from syft_flwr.emulators.syftbox.participant import Participant
from syft_flwr.emulators.syftbox.settings import Settings
from syft_flwr.emulators.syftbox.traffic import How, Outcome, Record, Traffic

__all__ = ["How", "Link", "Outcome", "Participant", "Record", "Settings", "SyftBoxNetwork", "Traffic"]
