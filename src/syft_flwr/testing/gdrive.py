"""Exports the Google Drive emulator, :mod:`syft_flwr.emulators.gdrive`, under its public name."""

import sys

from syft_flwr.emulators.gdrive import (
    Assumptions,
    Call,
    Emulator,
    Fault,
    FileRecord,
    Lag,
    Latency,
    Limits,
    Meter,
    PartRecord,
    RequestRecord,
)

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

if __name__ == "__main__":
    from syft_flwr.emulators.gdrive.__main__ import main

    sys.exit(main())
