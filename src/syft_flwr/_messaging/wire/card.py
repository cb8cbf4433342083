"""The public key card ``<me>/public/syft_flwr.json``: an email and its public keys, signed by those keys.

The signature proves that the writer of the card has the private keys. It does not prove that the keys belong to the
email. Three other things support that: only the owner can write to a datasite, the first key of a peer is pinned, and
people compare fingerprints.
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr._crypto.keys import PUBLIC_SIZE, SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr.errors import AddressError, MalformedError, SignatureError

_SIGNED = b"syft-flwr card 1\x00"


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["syft-flwr card"]
    version: Literal[1]
    email: Annotated[str, Field(max_length=254)]
    keys: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * PUBLIC_SIZE}}}\z")]
    fingerprint: Annotated[str, Field(max_length=64)]
    signature: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * SIGNATURE_SIZE}}}\z")]


def _statement(email: str, public: PublicIdentity) -> bytes:
    return _SIGNED + email.encode() + b"\x00" + public.encoded


def write_card(email: str, identity: Identity) -> bytes:
    """Return the card of this participant. The same keys give the same bytes, so publishing can be repeated."""
    public = identity.public
    card = _Card(
        format="syft-flwr card",
        version=1,
        email=email,
        keys=public.encoded.hex(),
        fingerprint=public.fingerprint,
        signature=identity.sign(_statement(email, public)).hex(),
    )
    return (json.dumps(card.model_dump(), indent=1) + "\n").encode()


def read_card(data: bytes, email: str) -> PublicIdentity:
    """Return the public keys in a card of ``email``.

    Raises:
        MalformedError, SignatureError: this is not a card, or the keys in it did not sign it.
        AddressError: the card names another email.
    """
    again = f"Ask {email} to start syft-flwr again, which writes a new card."
    try:
        card = _Card.model_validate_json(data)
    except ValidationError as error:
        text = f"the key card of {email} does not have the form of the protocol"
        raise MalformedError(text, hint=f"Ask {email} to install the same release and to start it again.") from error
    if card.email != email:
        raise AddressError(f"the key card of {email} names another participant", hint=again)
    try:
        public = PublicIdentity.decode(bytes.fromhex(card.keys))
        public.verify(bytes.fromhex(card.signature), _statement(email, public))
    except (MalformedError, SignatureError) as error:
        raise type(error)(f"the key card of {email}: {error}", hint=again) from error
    if card.fingerprint != public.fingerprint:
        # People who open the file compare this fingerprint, so it must be the true one.
        raise MalformedError(
            f"the key card of {email} shows a fingerprint that does not match its keys",
            hint=again,
        )
    return public
