"""A stand-in for Google Drive: a real HTTP server on loopback that answers the Drive API v3.

Clients are those that talk to Google, with one change below them: what they send to ``https://www.googleapis.com`` and
``https://oauth2.googleapis.com`` goes to :attr:`Emulator.url`, the paths stay. Each account has a token file of its own.

::

    with Emulator(users=["a@x.org", "b@x.org"]) as emulator:
        emulator.write_token("a@x.org", folder / "a.json")
        emulator.inject(Fault("error", method="files.create", status=503, committed=True))
        ...
        assert emulator.meter("a@x.org").calls["files.create"] == 2

What it copies from the service is said in the module where it happens: ``access`` (who may do what), ``query`` (the
language of searches), ``changes``, ``uploads``, ``drive_errors``; what is not known is a switch in ``assumptions``. Not copied:
revisions, shortcuts, shared drives, Google documents, groups, push notifications, comments.
``python -m syft_flwr.emulators.gdrive`` runs it for other processes.
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
