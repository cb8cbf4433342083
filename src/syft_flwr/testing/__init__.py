"""Fakes that behave, shipped so that users can test their own projects with them.

:class:`FakeClock` jumps; ``syftbox`` keeps separate data folders in step as the SyftBox daemon does; ``gdrive`` answers
over HTTP as Google Drive does.
"""

from syft_flwr.testing.fake_clock import FakeClock

__all__ = ["FakeClock"]
