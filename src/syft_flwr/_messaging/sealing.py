"""Makes the envelopes: a request from what is asked, a response from the request that it answers."""

from datetime import datetime

from pydantic import ValidationError

from syft_flwr._messaging import envelope as envelopes
from syft_flwr._messaging.body import Body
from syft_flwr._messaging.envelope import Encryption, Header
from syft_flwr._messaging.trust import Trust
from syft_flwr.errors import LocalProtocolError


def _mode(encryption: bool) -> Encryption:
    return "mlkem768-x25519" if encryption else "none"


def seal_request(
    trust: Trust,
    body: Body,
    *,
    message_id: str,
    run: int,
    app: str,
    recipient: str,
    kind: str,
    group: str,
    created: datetime,
    expires: datetime,
    encryption: bool,
) -> bytes:
    """Return the envelope of a request.

    Raises:
        UnknownPeerError, ChangedKeyError: it cannot be sealed to this recipient.
        LocalProtocolError: it is too large.
    """
    peer = trust.identity_of(recipient)
    try:
        header = Header(
            id=message_id,
            kind="request",
            run=run,
            app=app,
            sender=trust.email,
            recipient=recipient,
            sender_key=trust.identity.public.key_id,
            recipient_key=peer.key_id,
            type=kind,
            group=group,
            created=created,
            expires=expires,
            encryption=_mode(encryption),
            body_size=1,
        )
    except ValidationError as error:
        wrong = ", ".join(str(problem["loc"][0]) for problem in error.errors(include_input=False, include_url=False))
        raise LocalProtocolError(f"a request cannot have this {wrong}") from None
    return envelopes.encode(header, body.encode(), trust.identity, peer if encryption else None)


def seal_response(
    trust: Trust, body: Body, *, request: Header, digest: str, created: datetime, encryption: bool
) -> bytes:
    """Return the envelope of the answer to ``request``, whose envelope has this SHA-256; raises as for a request."""
    peer = trust.identity_of(request.sender)
    header = request.model_copy(
        update={
            "kind": "response",
            "sender": trust.email,
            "recipient": request.sender,
            "sender_key": trust.identity.public.key_id,
            "recipient_key": peer.key_id,
            "created": created,
            "encryption": _mode(encryption),
            "answers": digest,
        }
    )
    return envelopes.encode(header, body.encode(), trust.identity, peer if encryption else None)
