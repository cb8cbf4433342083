"""Seals envelopes: that of a request, and that of the reply to it."""

from datetime import datetime

from pydantic import ValidationError

from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.body import Body
from syft_flwr._messaging.wire.envelope import Encryption, Header
from syft_flwr.errors import LocalProtocolError


def _mode(encryption: bool) -> Encryption:
    return "mlkem768-x25519" if encryption else "none"


def seal_request(
    body: Body,
    *,
    email: str,
    identity: Identity,
    recipient: str,
    peer: PublicIdentity,
    message_id: str,
    run: int,
    app: str,
    kind: str,
    group: str,
    created: datetime,
    expires: datetime,
    encryption: bool,
) -> bytes:
    """Return the envelope of a request from ``email`` (with ``identity``) to ``recipient`` (with ``peer``).

    Raises:
        LocalProtocolError: it is too large, or has a field that the protocol does not allow.
    """
    try:
        header = Header(
            id=message_id,
            kind="request",
            run=run,
            app=app,
            sender=email,
            recipient=recipient,
            sender_key=identity.public.key_id,
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
    return envelopes.encode(header, body.encode(), identity, peer if encryption else None)


def seal_response(
    body: Body,
    *,
    identity: Identity,
    peer: PublicIdentity,
    request: Header,
    digest: str,
    created: datetime,
    encryption: bool,
) -> bytes:
    """Return the envelope of the reply to ``request``, whose envelope has the SHA-256 ``digest``.

    Args:
        body: the reply.
        identity: of the request's recipient, who replies.
        peer: of the request's sender, as pinned now.
        request: the header of the request.
        digest: in hexadecimal.
        created: the moment of the reply.
        encryption: seal the body.

    Raises:
        LocalProtocolError: it is too large.
    """
    header = request.model_copy(
        update={
            "kind": "response",
            "sender": request.recipient,
            "recipient": request.sender,
            "sender_key": identity.public.key_id,
            "recipient_key": peer.key_id,
            "created": created,
            "encryption": _mode(encryption),
            "answers": digest,
        }
    )
    return envelopes.encode(header, body.encode(), identity, peer if encryption else None)
