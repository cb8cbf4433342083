"""Every number of the protocol that bounds what is sent, read or waited for; ``docs/protocol.md`` lists them too."""

from datetime import timedelta

#: One envelope file. The SyftBox daemon pushes in real time only what is below 4 MB.
MAX_ENVELOPE = 3_900_000
#: The header of an envelope, canonical JSON.
MAX_HEADER = 8_192
#: A public key card.
MAX_CARD = 16_384
#: The manifest within a body: what the buffers are and where they lie.
MAX_MANIFEST = 3_000_000
#: A buffer up to this size rides in the envelope…
INLINE_BUFFER = 8_192
#: …as long as all inline buffers together stay below this.
INLINE_TOTAL = 32_768
#: Buffers in one message (a large model has some thousands of arrays).
MAX_BUFFERS = 20_000
#: Objects that one message refers to.
MAX_OBJECTS = 20_000
#: Pieces of buffers in one message: each buffer begins and ends in an object, and may fill some between.
MAX_PIECES = 2 * MAX_BUFFERS + MAX_OBJECTS
#: Plaintext bytes of one object.
MAX_OBJECT = 64 << 20
#: Plaintext bytes of one message, all its buffers together.
MAX_MESSAGE = 64 << 30
#: The longest life that a request may claim.
MAX_LIFETIME = timedelta(days=31)
#: A heartbeat.
MAX_HEARTBEAT = 65_536
#: Waiting requests that a heartbeat names.
MAX_HELD = 1_000
#: Seconds between two heartbeats when nothing changes.
HEARTBEAT_INTERVAL = 60.0
#: Files in an inbox that one look takes in.
MAX_LISTED = 10_000
#: A control message, all of it.
MAX_CONTROL = 65_536
#: Characters of an error text that travels.
MAX_ERROR_TEXT = 500
