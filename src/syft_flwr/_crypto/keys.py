"""A participant's identity: an Ed25519 key pair for signatures and a hybrid HPKE key pair for encryption.

* Sealing is HPKE base mode (RFC 9180) with MLKEM768-X25519, HKDF-SHA256 and AES-256-GCM. The hybrid key resists
  quantum computers.
* HPKE base mode does not prove who sealed a body. The Ed25519 signature (RFC 8032) over the whole envelope proves it.
* Encodings have a fixed length: 32 + 1184 + 32 bytes for a public identity, 32 + 64 + 32 bytes for a private one.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from syft_flwr.errors import EncryptionError, MalformedError, SignatureError

SIGNATURE_SIZE = 64
PUBLIC_SIZE = 32 + 1184 + 32
PRIVATE_SIZE = 32 + 64 + 32
#: Bytes that sealing adds to a body: the encapsulated key and the AES-GCM tag.
SEAL_OVERHEAD = KEM.MLKEM768_X25519.enc_length() + 16

#: Encodings of the points of small order on edwards25519, without the sign bit. Such a public key is refused, because
#: one signature can be valid for many messages under it.
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class PublicIdentity:
    """The two public keys of a participant, as one string of bytes."""

    encoded: bytes

    @classmethod
    def decode(cls, encoded: bytes) -> "PublicIdentity":
        """Return the identity with these public keys, after a check of the keys.

        Raises:
            MalformedError: the length is wrong, or a part is not a valid public key.
        """
        identity = cls(encoded)
        try:
            _ = identity._keys
        except ValueError as error:
            raise MalformedError("a public key has the wrong form") from error
        return identity

    @cached_property
    def _keys(self) -> tuple[Ed25519PublicKey, MLKEM768X25519PublicKey]:
        if len(self.encoded) != PUBLIC_SIZE:
            raise ValueError("wrong length")
        if self.encoded[:31] + bytes([self.encoded[31] & 0x7F]) in _SMALL_ORDER:
            raise ValueError("a point of small order")
        lattice = MLKEM768PublicKey.from_public_bytes(self.encoded[32:-32])
        curve = X25519PublicKey.from_public_bytes(self.encoded[-32:])
        # Raises ValueError for a point of small order, which gives the same shared secret to every participant.
        X25519PrivateKey.generate().exchange(curve)
        return Ed25519PublicKey.from_public_bytes(self.encoded[:32]), MLKEM768X25519PublicKey(lattice, curve)

    @cached_property
    def key_id(self) -> str:
        """Return the 32 hexadecimal digits that identify these keys in envelope headers."""
        return hashlib.sha256(b"syft-flwr key id" + self.encoded).hexdigest()[:32]

    @cached_property
    def fingerprint(self) -> str:
        """Return 160 bits of hash in base32, in groups of four characters, for two people to compare."""
        digest = hashlib.sha256(b"syft-flwr fingerprint" + self.encoded).digest()[:20]
        text = base64.b32encode(digest).decode()
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise SignatureError unless this identity made ``signature`` over ``data``."""
        try:
            self._keys[0].verify(signature, data)
        except InvalidSignature as error:
            raise SignatureError("the signature does not match") from error

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """Encrypt to this identity. :meth:`Identity.open` needs the same ``info``."""
        return _SUITE.encrypt(plaintext, self._keys[1], info)


@dataclass(frozen=True)
class Identity:
    """The private keys of a participant. Its ``repr`` shows only the id of the public keys."""

    _signing: Ed25519PrivateKey
    _lattice: MLKEM768PrivateKey
    _curve: X25519PrivateKey

    @classmethod
    def generate(cls) -> "Identity":
        return cls(Ed25519PrivateKey.generate(), MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def decode(cls, private: bytes) -> "Identity":
        """Return the identity with these :attr:`private_bytes`; MalformedError if the length is wrong."""
        if len(private) != PRIVATE_SIZE:
            raise MalformedError("a private key file has the wrong length")
        return cls(
            Ed25519PrivateKey.from_private_bytes(private[:32]),
            MLKEM768PrivateKey.from_seed_bytes(private[32:-32]),
            X25519PrivateKey.from_private_bytes(private[-32:]),
        )

    @property
    def private_bytes(self) -> bytes:
        """Return the secret keys, for a file that only its owner can read."""
        return b"".join(
            (self._signing.private_bytes_raw(), self._lattice.private_bytes_raw(), self._curve.private_bytes_raw())
        )

    @cached_property
    def public(self) -> PublicIdentity:
        return PublicIdentity(
            self._signing.public_key().public_bytes_raw()
            + self._lattice.public_key().public_bytes_raw()
            + self._curve.public_key().public_bytes_raw()
        )

    @cached_property
    def _opening(self) -> MLKEM768X25519PrivateKey:
        return MLKEM768X25519PrivateKey(self._lattice, self._curve)

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature over ``data``, 64 bytes."""
        return self._signing.sign(data)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Decrypt ``sealed``, which was encrypted to this identity with the same ``info``.

        Raises:
            EncryptionError: the key, ``info`` or a byte differs. One text for all causes tells an attacker nothing.
        """
        try:
            return _SUITE.decrypt(sealed, self._opening, info)
        except (InvalidTag, ValueError) as error:
            raise EncryptionError("the body cannot be decrypted", travels=True) from error

    def __repr__(self) -> str:
        return f"Identity({self.public.key_id})"
