"""Access to one Google account: its login, typed calls to its Drive, and retries of failed calls.

The calls are in ``drive_client``. This package handles files only; ``streams`` handles peers and messages.
"""
