"""Builds the sealed envelope of a request, and of the reply to it."""

from datetime import datetime

from pydantic import ValidationError

from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.body import Body
from syft_flwr._messaging.wire.envelope import Encryption, Header
from syft_flwr.errors import LocalProtocolError
from syft_flwr.text import printable

#: Characters of a wrong value that an error shows.
_SHOWN = 80


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
    """Return the envelope of a request from ``email`` (keys: ``identity``) to ``recipient`` (keys: ``peer``).

    Raises:
        LocalProtocolError: it is too large, or a field has a value that the protocol does not allow.
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
        problems = error.errors(include_url=False)
        wrong = ", ".join(f"{each['loc'][0]} '{printable(str(each['input']), _SHOWN)}'" for each in problems)
        raise LocalProtocolError(
            f"the request has a value that the protocol does not allow: {wrong}",
            hint="Correct this value. A message type and a group id have at most 128 characters, all of them visible.",
        ) from None
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
    """Return the envelope of the reply to ``request``.

    Args:
        body: the content of the reply.
        identity: the keys of the data owner, who signs.
        peer: the keys of the aggregator, as pinned now.
        request: the header of the request.
        digest: the SHA-256 of the envelope of the request, in hexadecimal.
        created: the time of the reply.
        encryption: whether to seal the body.

    Raises:
        LocalProtocolError: the envelope is too large.
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
