"""Tools for users' own tests: a clock that jumps, the contract of a transport, and the emulators.

:class:`FakeClock` jumps; ``syftbox`` keeps separate data folders in step as the SyftBox daemon does; ``gdrive`` answers
over HTTP as Google Drive does.
"""

from syft_flwr.testing.fake_clock import FakeClock

__all__ = ["FakeClock"]
