"""Export the SyftBox stand-in, :mod:`syft_flwr.emulators.syftbox`, under its public name."""

import sys

from syft_flwr.emulators.syftbox import How, Link, Outcome, Participant, Record, Settings, SyftBoxNetwork, Traffic

__all__ = ["How", "Link", "Outcome", "Participant", "Record", "Settings", "SyftBoxNetwork", "Traffic"]

if __name__ == "__main__":
    from syft_flwr.emulators.syftbox.__main__ import main

    sys.exit(main())
