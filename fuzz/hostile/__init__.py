"""Fuzz targets for all functions that read bytes from other participants, the rules for them, and their seeds."""
