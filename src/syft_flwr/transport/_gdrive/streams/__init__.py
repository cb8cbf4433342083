"""Files between peers over Google Drive: streams with announced ids, the mirror of the peers' streams, and the outbox.

A stream is one folder for one set of readers. This wing makes its calls through ``api``.
"""
