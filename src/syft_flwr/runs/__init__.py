"""The record of a run on each side: its events, for people, scripts and subscribers. Nothing depends on it."""
