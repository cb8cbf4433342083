"""The public key card ``<me>/public/syft_flwr.json``: an email, its public keys and its software, signed by those keys.

The signature proves that the writer of the card has the private keys. It does not prove that the keys belong to the
email. Three other things support that: only the owner can write to a datasite, the first key of a peer is pinned, and
people compare fingerprints.

Version 2 of the card added the software. A card of version 1 is still read, so that the key of an older peer is known and
the peer gets an error that names both releases.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from syft_flwr._crypto.keys import PUBLIC_SIZE, SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr.errors import AddressError, MalformedError, SignatureError
from syft_flwr.software import SOFTWARE_FORM, SYFT_FLWR


@dataclass(frozen=True, slots=True)
class KeyCard:
    """The verified content of a card."""

    keys: PublicIdentity
    #: The release of the participant, such as ``syft-flwr 1.0.0``; empty in a card of version 1.
    software: str


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["syft-flwr card"]
    version: Annotated[int, Field(ge=1, le=2)]
    email: Annotated[str, Field(max_length=254)]
    #: A card of version 1 does not have this field.
    software: Annotated[str, Field(pattern=rf"^{SOFTWARE_FORM}\z")] = ""
    keys: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * PUBLIC_SIZE}}}\z")]
    fingerprint: Annotated[str, Field(max_length=64)]
    signature: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * SIGNATURE_SIZE}}}\z")]

    @model_validator(mode="after")
    def _has_the_fields_of_its_version(self) -> Self:
        if ("software" in self.model_fields_set) != (self.version == 2):
            raise ValueError("the field software belongs to version 2 of a card")
        return self


def _statement(version: int, email: str, software: str, public: PublicIdentity) -> bytes:
    if version == 1:
        return b"syft-flwr card 1\x00" + email.encode() + b"\x00" + public.encoded
    return b"syft-flwr card 2\x00" + email.encode() + b"\x00" + software.encode() + b"\x00" + public.encoded


def write_card(email: str, identity: Identity, software: str = SYFT_FLWR) -> bytes:
    """Return the card of this participant. The same keys and software give the same bytes, so publishing can be repeated."""
    public = identity.public
    card = _Card(
        format="syft-flwr card",
        version=2,
        email=email,
        software=software,
        keys=public.encoded.hex(),
        fingerprint=public.fingerprint,
        signature=identity.sign(_statement(2, email, software, public)).hex(),
    )
    return (json.dumps(card.model_dump(), indent=1) + "\n").encode()


def read_card(data: bytes, email: str) -> KeyCard:
    """Return the public keys and the software in a card of ``email``.

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
        public.verify(bytes.fromhex(card.signature), _statement(card.version, email, card.software, public))
    except (MalformedError, SignatureError) as error:
        raise type(error)(f"the key card of {email}: {error}", hint=again) from error
    if card.fingerprint != public.fingerprint:
        # People who open the file compare this fingerprint, so it must be the true one.
        raise MalformedError(
            f"the key card of {email} shows a fingerprint that does not match its keys",
            hint=again,
        )
    return KeyCard(public, card.software)
