"""Tools for users' own tests: a fake clock, the contract of a transport, and two emulators.

The time of a :class:`FakeClock` passes only on command. ``transport_contract`` tests a transport. ``syftbox`` syncs separate
data folders as the SyftBox client does. ``gdrive`` serves HTTP requests as Google Drive does.
"""

from syft_flwr.testing.fake_clock import FakeClock

__all__ = ["FakeClock"]
