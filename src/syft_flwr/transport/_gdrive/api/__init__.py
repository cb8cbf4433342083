"""One Google account: its login, typed calls to its Drive, and the handling of calls that fail.

``drive_client`` has the calls. This wing knows no other participant and no messages.
"""
