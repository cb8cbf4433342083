"""Emulators of SyftBox and Google Drive for tests and simulations.

``syftbox`` synchronises several data folders like the SyftBox clients and their server. ``gdrive`` answers over HTTP
like Google Drive. ``syft_flwr.testing`` exports both to users.
"""
