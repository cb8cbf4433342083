"""An emulator of Google Drive: an HTTP server on loopback that answers the Drive API v3.

Any client for Google Drive works with it after one change. Requests to ``https://www.googleapis.com`` and
``https://oauth2.googleapis.com`` must go to :attr:`Emulator.url`, with the same paths. Each account has its own token
file.

::

    with Emulator(users=["a@x.org", "b@x.org"]) as emulator:
        emulator.write_token("a@x.org", folder / "a.json")
        emulator.inject(Fault("error", method="files.create", status=503, committed=True))
        ...
        assert emulator.meter("a@x.org").calls["files.create"] == 2

These modules describe the copied behaviour of Drive: ``access`` (permissions), ``query`` (searches), ``changes``,
``uploads`` and ``drive_errors``. Behaviour that Google does not document is a switch in ``assumptions``. Not copied:
revisions, shortcuts, shared drives, Google documents, groups, push notifications and comments.

``python -m syft_flwr.emulators.gdrive`` runs the emulator for other processes.
"""

from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.direct_access import FileRecord
from syft_flwr.emulators.gdrive.emulator import Emulator
from syft_flwr.emulators.gdrive.faults import Call, Fault
from syft_flwr.emulators.gdrive.lag import Lag
from syft_flwr.emulators.gdrive.latency import Latency
from syft_flwr.emulators.gdrive.meters import Meter, PartRecord, RequestRecord
from syft_flwr.emulators.gdrive.quota import Limits

__all__ = [
    "Assumptions",
    "Call",
    "Emulator",
    "Fault",
    "FileRecord",
    "Lag",
    "Latency",
    "Limits",
    "Meter",
    "PartRecord",
    "RequestRecord",
]
