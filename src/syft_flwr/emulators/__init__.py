"""Stand-ins that behave like the services that syft_flwr talks through.

``syftbox`` keeps separate data folders in step as the SyftBox daemons and their server do; ``gdrive`` answers over HTTP as
Google Drive does. ``syft_flwr.testing`` exports both to users.
"""
