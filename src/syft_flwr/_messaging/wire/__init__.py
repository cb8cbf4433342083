"""The bytes of a message: envelopes, bodies, key cards and signs of life, in and out. No files, no databases, no clock."""

from syft_flwr._messaging.wire.body import Body, Failure, Manifest, failure
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.reasons import Reason, reason_of

__all__ = ["Body", "Failure", "Header", "Manifest", "Reason", "failure", "reason_of"]
