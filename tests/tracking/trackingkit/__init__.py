"""Runs, records and places for the tests of trackers."""
