"""Google Drive, one account at a time: login, typed calls, and what happens when a call fails.

``client.Drive`` is what the transport uses. Nothing in here knows of messages or of other participants, and nothing is
imported before somebody opens an account: the Google libraries are large, and an extra.
"""
