"""The heartbeat: a small signed file that shows that a participant is alive, and lists its requests.

* The heartbeat of a data owner names the requests that its client holds, and the objects that it misses.
* The heartbeat of an aggregator names the requests that it has withdrawn, and the objects that it misses. A transport
  can lose files, so the absence of a request is no statement. This list is.

The writer replaces it at a rate that a sync service can transfer. A new heartbeat extends the wait of its reader, but
only for the requests that it names, and by the clock of the reader. Its session and its number tell which one is newer:
an older file that comes back has no effect. A client that died long ago may have left the first heartbeat that a reader
finds. Only for this one, the clocks of the two machines are compared, with a tolerance.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr._crypto.keys import SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr._messaging.wire.envelope import App, Email, MessageId, Moment
from syft_flwr._messaging.wire.limits import MAX_HELD, MAX_MISSING, MAX_WITHDRAWN
from syft_flwr.errors import AddressError, MalformedError
from syft_flwr.names import AppNames

_SIGNED = b"syft-flwr heartbeat 3\x00"
_NUMBER = Field(strict=True, ge=1, lt=1 << 53)

#: The side of the exchange for which a participant writes a heartbeat.
Role = Literal["aggregator", "data-owner"]


class _HeartbeatFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["syft-flwr heartbeat"]
    version: Literal[3]
    role: Role
    email: Email
    app: App
    session: Annotated[int, _NUMBER]
    beat: Annotated[int, _NUMBER]
    written: Moment
    #: The id of the request that the app runs; empty if the app is idle.
    running: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?\z")]
    waiting: Annotated[list[MessageId], Field(max_length=MAX_HELD)]
    #: The ids of objects of peers that have not arrived, though an envelope names them.
    missing: Annotated[list[MessageId], Field(max_length=MAX_MISSING)]
    #: The ids of requests that this aggregator withdrew.
    withdrawn: Annotated[list[MessageId], Field(max_length=MAX_WITHDRAWN)]
    signature: Annotated[str, Field(pattern=rf"^([0-9a-f]{{{2 * SIGNATURE_SIZE}}})?\z")] = ""

    def statement(self) -> bytes:
        fields = self.model_dump(mode="json", exclude={"signature"})
        return _SIGNED + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The content of a heartbeat."""

    role: Role
    email: str
    app: str
    #: The start of its writer. Each start has a higher number than all earlier ones.
    session: int
    #: Counts the heartbeats of a session, because a wall clock may be set back.
    beat: int
    #: By the clock of the writer. It only serves to detect an old file of a client that died.
    written: datetime
    running: str = ""
    waiting: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()

    @property
    def number(self) -> tuple[int, int]:
        """Return the session and the number in it, by which the heartbeats of one writer are ordered."""
        return self.session, self.beat

    def holds(self, message_id: str) -> bool:
        return message_id == self.running or message_id in self.waiting

    def is_newer_than(self, other: "Heartbeat") -> bool:
        return self.number > other.number

    def encode(self, identity: Identity) -> bytes:
        """Return the bytes of the file, signed with ``identity``."""
        unsigned = _HeartbeatFile(
            format="syft-flwr heartbeat",
            version=3,
            role=self.role,
            email=self.email,
            app=self.app,
            session=self.session,
            beat=self.beat,
            written=self.written.astimezone(UTC),
            running=self.running,
            waiting=list(self.waiting[:MAX_HELD]),
            missing=list(self.missing[:MAX_MISSING]),
            withdrawn=list(self.withdrawn[:MAX_WITHDRAWN]),
        )
        signed = unsigned.model_copy(update={"signature": identity.sign(unsigned.statement()).hex()})
        return signed.model_dump_json(indent=1).encode()


def read_heartbeat(data: bytes, *, role: Role, email: str, app: str, identity: PublicIdentity) -> Heartbeat:
    """Return the heartbeat that ``email`` wrote for ``app`` as aggregator or as data owner.

    Raises:
        MalformedError, SignatureError: this is not a heartbeat, or ``identity`` did not sign it.
        AddressError: it names another participant, app or role.
    """
    try:
        file = _HeartbeatFile.model_validate_json(data)
    except ValidationError as error:
        raise MalformedError(f"the heartbeat of {email} does not have the form of the protocol") from error
    if json.loads(data) != file.model_dump(mode="json"):
        # The signature covers the values, so each value must have only one form.
        raise MalformedError(f"the heartbeat of {email} has a value that is not in canonical form")
    if (file.role, file.email, file.app) != (role, email, app):
        raise AddressError(f"the heartbeat of {email} names another participant, app or role")
    identity.verify(bytes.fromhex(file.signature), file.statement())
    return Heartbeat(
        role,
        email,
        app,
        file.session,
        file.beat,
        file.written,
        file.running,
        tuple(file.waiting),
        tuple(file.missing),
        tuple(file.withdrawn),
    )


def heartbeat_name(names: AppNames, role: Role, email: str) -> str:
    """Return the name of the heartbeat that ``email`` writes in this role."""
    return names.heartbeat(email) if role == "data-owner" else names.aggregator_heartbeat(email)
