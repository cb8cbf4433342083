"""Moves named files between participants: over SyftBox folders, Google Drive, or memory."""
