"""Encodes and decodes the files of the protocol: envelopes, bodies, key cards and heartbeats.

The functions work on bytes. They use no files, databases or clocks.
"""

from syft_flwr._messaging.wire.body import Body, Failure, Manifest
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.reasons import Reason, reason_of

__all__ = ["Body", "Failure", "Header", "Manifest", "Reason", "reason_of"]
