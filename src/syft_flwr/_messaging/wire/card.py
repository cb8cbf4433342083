"""The public key card ``<me>/public/syft_flwr.json``: an email and its public keys, signed by those keys.

The signature proves that whoever wrote the card holds the keys. That the keys belong to the email is vouched for by the
store (only its owner writes into a datasite), by the first meeting, and by people who compare fingerprints.
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr._crypto.keys import PUBLIC_SIZE, SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr.errors import AddressError, MalformedError

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
    """Return the card of this participant: the same bytes for the same keys, so publishing can be repeated."""
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
    """Return the keys that a card of ``email`` offers.

    Raises:
        MalformedError, SignatureError: not a card, or not signed by its own keys.
        AddressError: the card of somebody else.
    """
    try:
        card = _Card.model_validate_json(data)
    except ValidationError as error:
        raise MalformedError(f"the key card of {email} does not have the form of the protocol") from error
    if card.email != email:
        raise AddressError(f"the key card of {email} names another participant")
    public = PublicIdentity.decode(bytes.fromhex(card.keys))
    public.verify(bytes.fromhex(card.signature), _statement(email, public))
    if card.fingerprint != public.fingerprint:
        # It is for people who open the file, and they must not compare another one than we do.
        raise MalformedError(f"the key card of {email} shows a fingerprint that is not of its keys")
    return public
