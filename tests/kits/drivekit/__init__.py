"""What the tests of the Drive client share: an emulator with accounts, and a clock on which waiting takes no time."""
