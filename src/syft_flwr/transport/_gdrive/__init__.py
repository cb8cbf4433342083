"""Google Drive as a transport, in two wings.

``api`` has the typed calls to one account's Drive. ``streams``, above it, exchanges files with the peers.
Importing this package does nothing: the Google libraries are large, and an extra.
"""
