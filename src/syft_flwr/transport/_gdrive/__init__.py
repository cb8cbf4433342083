"""The parts of the Google Drive transport.

``api`` makes typed calls to one account's Drive. ``streams`` uses ``api`` to exchange files with the peers.
Importing this package imports nothing else, because Google's libraries are large and optional.
"""
