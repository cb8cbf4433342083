"""Keys of three participants, accounts at a Drive emulator, a SyftBox emulator, and the two kinds of names of objects."""

import pytest
from drivekit.fixtures import ann, ben_of_drive, emulator  # noqa: F401 - fixtures of every test here
from faithful_syftbox import machines, start_faithful  # noqa: F401
from identities import anna, ben, eve  # noqa: F401

from syft_flwr.transport import syftbox


@pytest.fixture(params=[False, True], ids=["scanned", "pushed"])
def pushed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether objects over SyftBox get pushed names. In both cases an object has at most 10 kB."""
    given: bool = request.param
    monkeypatch.setattr(syftbox, "_PART_SIZE", 10_000)
    monkeypatch.setattr(syftbox, "PUSHED_SIZE", 10_002)
    monkeypatch.setattr(syftbox, "_PUSHED_MESSAGE", 1_000_000 if given else 0)
    return given
