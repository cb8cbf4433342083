"""Writes the systemd unit that runs the client of a data owner as a service of its user."""
