"""The limits of the protocol for sizes, counts and times. ``docs/protocol.md`` lists them, too."""

from datetime import timedelta

#: Bytes of one envelope.
MAX_ENVELOPE = 3_900_000
#: Bytes of the header of an envelope, as canonical JSON.
MAX_HEADER = 8_192
#: Bytes of a public key card.
MAX_CARD = 16_384
#: Bytes of the manifest in a body, which lists the buffers and their places.
MAX_MANIFEST = 3_000_000
#: A buffer up to this many bytes is stored in the envelope…
INLINE_BUFFER = 8_192
#: …if all inline buffers together have at most this many bytes. A message up to this size never needs objects.
INLINE_TOTAL = 32_768
#: Buffers in one message (a large model has some thousands of arrays).
MAX_BUFFERS = 20_000
#: Objects of one message.
MAX_OBJECTS = 20_000
#: Pieces of buffers in one message. A buffer begins and ends in an object, and may fill others between them.
MAX_PIECES = 2 * MAX_BUFFERS + MAX_OBJECTS
#: Fields of the protobuf of one message, all nested ones together. 20,000 arrays have 120,000 fields.
MAX_FIELDS = 200_000
#: Buffers of one message that name the same bytes. So a message unfolds to four times what arrived, at most.
MAX_USES = 4
#: Plaintext bytes of one object.
MAX_OBJECT = 64 << 20
#: Plaintext bytes of one message, all its buffers together.
MAX_MESSAGE = 64 << 30
#: The longest lifetime of a request.
MAX_LIFETIME = timedelta(days=31)
#: Bytes of a heartbeat that is read.
MAX_HEARTBEAT = 65_536
#: Waiting requests in one heartbeat. A full heartbeat has at most 32 KiB, which SyftBox sends at once over any link.
MAX_HELD = 750
#: Missing objects in one heartbeat.
MAX_MISSING = 64
#: Withdrawn requests in one heartbeat of an aggregator, which has at most 32 KiB, too.
MAX_WITHDRAWN = 750
#: Seconds between two heartbeats without a change, at most…
HEARTBEAT_INTERVAL = 60.0
#: …and at least, if the aggregator asks for a shorter interval.
LEAST_HEARTBEAT_INTERVAL = 5.0
#: Files of an inbox that one scan reads.
MAX_LISTED = 10_000
#: Files of objects of one participant that one scan reads. An object can have several names.
MAX_OBJECT_FILES = 4 * MAX_OBJECTS
#: Runs of one aggregator without an end at one data owner. A further one ends the oldest.
MAX_OPEN_RUNS = 64
#: Ended runs that a participant remembers, for each app and role. A further one removes the oldest.
MAX_RUNS = 10_000
#: Requests of one aggregator that wait for the app of a data owner. A further one gets an error as its reply.
MAX_WAITING = 10_000
#: Bytes of their bodies without their objects, which the data owner has in memory.
MAX_WAITING_BYTES = 1 << 30
#: Bytes of a whole control message.
MAX_CONTROL = 65_536
#: Bytes of the run configuration in a request. Opened, it has at most 256 keys and 32 KiB of keys and texts.
MAX_RUN_CONFIG = 49_152
#: Keys of the run configuration that a reply names, each of at most 128 characters.
MAX_KEPT_KEYS = 256
#: Characters of the round in a request.
MAX_ROUND = 20
#: Characters of an error text in a reply.
MAX_ERROR_TEXT = 500
