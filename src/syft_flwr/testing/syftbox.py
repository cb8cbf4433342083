"""Exports the SyftBox emulator, :mod:`syft_flwr.emulators.syftbox`, under its public name."""

import sys

from syft_flwr.emulators.syftbox import How, Link, Record, SyftBoxNetwork, Traffic, Window
from syft_flwr.emulators.syftbox import ParticipantHome as Participant
from syft_flwr.emulators.syftbox import SyncOutcome as Outcome
from syft_flwr.emulators.syftbox import SyncSettings as Settings

__all__ = ["How", "Link", "Outcome", "Participant", "Record", "Settings", "SyftBoxNetwork", "Traffic", "Window"]

if __name__ == "__main__":
    from syft_flwr.emulators.syftbox.__main__ import main

    sys.exit(main())
