"""Fuzz ``keys`` with public keys of peers, private keys from a file, and invalid encrypted bodies."""

from collections.abc import Iterator

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import ANNA, BEN, EVE, PRIVATE
from syft_flwr._crypto.keys import PRIVATE_SIZE, Identity, PublicIdentity
from syft_flwr.errors import SignatureError

_PUBLIC, _PRIVATE, _SEALED = 0, 1, 2
_CURVE = 32
_INFO = b"info"
#: The neutral element of edwards25519.
_NEUTRAL = b"\x01" + bytes(31)
#: X25519 points of small order, and the encoding 2^255 - 19 + 2, which is not the canonical one of its point.
_POINTS = (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "ef" + "ff" * 31,
)


def seeds() -> Iterator[bytes]:
    for identity in (ANNA, EVE):
        encoded = identity.public.encoded
        yield frames.join([bytes([_PUBLIC]), encoded[:32], encoded[32:-_CURVE], encoded[-_CURVE:]])
        yield frames.join([bytes([_PRIVATE]), identity.private_bytes])
    for point in _POINTS:
        encoded = ANNA.public.encoded
        yield frames.join([bytes([_PUBLIC]), encoded[:32], encoded[32:-_CURVE], bytes.fromhex(point)])
        yield frames.join([bytes([_PUBLIC]), bytes.fromhex(point), encoded[32:-_CURVE], encoded[-_CURVE:]])
    sealed = BEN.public.seal(b"answer", _INFO)
    for cut in (len(sealed), 1_136, 1_120, 1_088, 0):
        yield frames.join([bytes([_SEALED]), sealed[:cut]])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that accepted keys can be used, and that decryption raises only expected errors."""
    mode, *parts = frames.split(data, 2)
    content = b"".join(parts)
    if mode[:1] == bytes([_PRIVATE]):
        _check_private(content)
    elif mode[:1] == bytes([_SEALED]):
        Guarded(*PRIVATE)(BEN.open, content, _INFO)
    else:
        _check_public(content)


def _check_public(encoded: bytes) -> None:
    guarded = Guarded()
    public = guarded(PublicIdentity.decode, encoded)
    if public is None:
        return
    assert PublicIdentity.decode(public.encoded) == public
    assert len(public.key_id) == 32
    assert public.fingerprint
    for signature in (bytes(64), _NEUTRAL + bytes(32), ANNA.sign(b"data"), b"", encoded[:63]):
        fitting = [data for data in (b"data", b"other", b"third") if _fits(guarded, public, signature, data)]
        assert len(fitting) <= 1, "one signature fits several messages"
    # A key that may be pinned must also work for encryption.
    assert public.seal(b"question", _INFO)


def _fits(guarded: Guarded, public: PublicIdentity, signature: bytes, data: bytes) -> bool:
    guarded(public.verify, signature, data)
    assert guarded.error is None or isinstance(guarded.error, SignatureError)
    return guarded.error is None


def _check_private(private: bytes) -> None:
    identity = Guarded(private if len(private) > 8 else b"\x00secret")(Identity.decode, private)
    assert (identity is not None) == (len(private) == PRIVATE_SIZE)
    if identity is None:
        return
    assert identity.private_bytes == private
    assert private[:32].hex() not in repr(identity)
    identity.public.verify(identity.sign(b"data"), b"data")
    assert identity.open(identity.public.seal(b"answer", _INFO), _INFO) == b"answer"
