"""The doctor: looks at a participant, its machine and its peers, and tells each problem with its remedy.

It changes nothing but a probe file that it deletes again, and it works while a server or a client runs.
"""
