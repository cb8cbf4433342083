"""The exchange of files with the peers over Google Drive.

A stream is a Drive folder that one process writes for one set of readers. The outbox writes the streams of this process,
and the mirror reads the streams of the peers. All calls to Drive go through ``api``.
"""
