"""Helpers for tests of the Drive client: an emulator with accounts, and a clock that does not really wait."""
