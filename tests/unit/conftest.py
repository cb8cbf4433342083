"""Keys of three participants, accounts at a Drive emulator, and a SyftBox emulator in faithful mode."""

from drivekit.fixtures import ann, ben_of_drive, emulator  # noqa: F401 - fixtures of every test here
from faithful_syftbox import machines, start_faithful  # noqa: F401
from identities import anna, ben, eve  # noqa: F401
