"""The heartbeat: a small signed file that shows that a client is alive and which requests it has.

The client rewrites it at a rate that a sync service can transfer. A new heartbeat extends the wait of the aggregator,
but only for the requests that it names, and by the clock of the aggregator. A client that died long ago may have left
the first heartbeat that an aggregator finds. Only for this one, the clocks of the two machines are compared, with a
tolerance.
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
    #: The id of the request that the app runs; empty if the app is idle.
    running: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?\z")]
    waiting: Annotated[list[MessageId], Field(max_length=MAX_HELD)]
    signature: Annotated[str, Field(pattern=rf"^([0-9a-f]{{{2 * SIGNATURE_SIZE}}})?\z")] = ""

    def statement(self) -> bytes:
        fields = self.model_dump(mode="json", exclude={"signature"})
        return _SIGNED + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The content of a heartbeat. ``beat`` counts the heartbeats, because a wall clock may be set back."""

    email: str
    app: str
    serving_since: datetime
    #: By the clock of the client. It only serves to detect an old file of a client that died.
    written: datetime
    beat: int
    running: str
    waiting: tuple[str, ...]

    def holds(self, message_id: str) -> bool:
        return message_id == self.running or message_id in self.waiting

    def is_newer_than(self, other: "Heartbeat") -> bool:
        return self.serving_since != other.serving_since or self.beat > other.beat

    def encode(self, identity: Identity) -> bytes:
        """Return the bytes of the file, signed with ``identity``."""
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
    """Return the heartbeat of ``email`` for ``app``.

    Raises:
        MalformedError, SignatureError: this is not a heartbeat, or ``identity`` did not sign it.
        AddressError: it names another participant or app.
    """
    try:
        file = _HeartbeatFile.model_validate_json(data)
    except ValidationError as error:
        raise MalformedError(f"the heartbeat of {email} does not have the form of the protocol") from error
    if json.loads(data) != file.model_dump(mode="json"):
        # The signature covers the values, so each value must have only one form.
        raise MalformedError(f"the heartbeat of {email} has a value that is not in canonical form")
    if (file.email, file.app) != (email, app):
        raise AddressError(f"the heartbeat of {email} names another participant or app")
    identity.verify(bytes.fromhex(file.signature), file.statement())
    return Heartbeat(email, app, file.serving_since, file.written, file.beat, file.running, tuple(file.waiting))
