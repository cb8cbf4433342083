"""The sign of life: a small signed file that a data owner's client rewrites, rarely enough for a sync service.

It says which requests the watcher holds. An aggregator that waits counts a new heartbeat as a sign of life for those
requests only, by the moment at which it saw it. The clocks of the two machines are compared with a tolerance, once: the first
heartbeat that an aggregator finds may have been left by a watcher that died long ago.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr._crypto.keys import SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr._messaging.wire.envelope import MessageId, Moment
from syft_flwr._messaging.wire.limits import MAX_HELD
from syft_flwr.errors import AddressError, MalformedError

_SIGNED = b"syft-flwr heartbeat 1\x00"


class _HeartbeatFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["syft-flwr heartbeat"]
    version: Literal[1]
    email: Annotated[str, Field(max_length=254)]
    app: Annotated[str, Field(max_length=64)]
    serving_since: Moment
    written: Moment
    beat: Annotated[int, Field(strict=True, ge=1, lt=1 << 53)]
    #: The request that the app runs on; empty when it is idle.
    running: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?\z")]
    waiting: Annotated[list[MessageId], Field(max_length=MAX_HELD)]
    signature: Annotated[str, Field(pattern=rf"^([0-9a-f]{{{2 * SIGNATURE_SIZE}}})?\z")] = ""

    def statement(self) -> bytes:
        fields = self.model_dump(mode="json", exclude={"signature"})
        return _SIGNED + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a watcher says of itself. ``beat`` counts its heartbeats, because a wall clock may be set back."""

    email: str
    app: str
    serving_since: datetime
    #: By the clock of its writer. It only tells a file that a watcher left when it died from one that is new.
    written: datetime
    beat: int
    running: str
    waiting: tuple[str, ...]

    def holds(self, message_id: str) -> bool:
        return message_id == self.running or message_id in self.waiting

    def is_newer_than(self, other: "Heartbeat") -> bool:
        return self.serving_since != other.serving_since or self.beat > other.beat

    def encode(self, identity: Identity) -> bytes:
        """Return the signed file."""
        unsigned = _HeartbeatFile(
            format="syft-flwr heartbeat",
            version=1,
            email=self.email,
            app=self.app,
            serving_since=self.serving_since.astimezone(UTC),
            written=self.written.astimezone(UTC),
            beat=self.beat,
            running=self.running,
            waiting=list(self.waiting[:MAX_HELD]),
        )
        signed = unsigned.model_copy(update={"signature": identity.sign(unsigned.statement()).hex()})
        return signed.model_dump_json(indent=1).encode()


def read_heartbeat(data: bytes, *, email: str, app: str, identity: PublicIdentity) -> Heartbeat:
    """Read a heartbeat of ``email``.

    Raises:
        MalformedError, SignatureError: not one, or not signed by this peer.
        AddressError: of another participant or app.
    """
    try:
        file = _HeartbeatFile.model_validate_json(data)
    except ValidationError as error:
        raise MalformedError(f"the heartbeat of {email} does not have the form of the protocol") from error
    if json.loads(data) != file.model_dump(mode="json"):
        # The signature is over values; each of them has one spelling.
        raise MalformedError(f"the heartbeat of {email} spells a value in another way than the protocol")
    if (file.email, file.app) != (email, app):
        raise AddressError(f"the heartbeat of {email} names another participant or app")
    identity.verify(bytes.fromhex(file.signature), file.statement())
    return Heartbeat(email, app, file.serving_since, file.written, file.beat, file.running, tuple(file.waiting))
