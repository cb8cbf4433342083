"""Keys of three participants, and accounts at a Drive emulator."""

from drivekit.fixtures import ann, ben_of_drive, emulator  # noqa: F401 - fixtures of every test here
from identities import anna, ben, eve  # noqa: F401
