"""Keys for signatures and encryption: test vectors of the standards, and refusal of invalid input."""

import base64
import hashlib
import hmac
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from syft_flwr._crypto.keys import (
    PRIVATE_SIZE,
    PUBLIC_SIZE,
    SEAL_OVERHEAD,
    SIGNATURE_SIZE,
    Identity,
    PublicIdentity,
)
from syft_flwr.errors import EncryptionError, MalformedError, SignatureError

VECTORS = Path(__file__).parent.parent / "vectors"
# RFC 7748, section 6.1.
X25519_PRIVATE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
X25519_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")


# Test vectors of the standards


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        # RFC 8032, section 7.1, tests 1 and 3.
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595b"
                "be24655141438e7a100b"
            ),
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            (
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716e"
                "d28dc027beceea1ec40a"
            ),
        ),
    ],
)
def test_signatures_match_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    identity = Identity.decode(bytes.fromhex(seed) + bytes(64) + X25519_PRIVATE)

    assert identity.public.encoded[:32].hex() == public
    assert identity.sign(bytes.fromhex(message)).hex() == signature
    identity.public.verify(bytes.fromhex(signature), bytes.fromhex(message))


def test_parts_of_a_public_key_have_a_fixed_order() -> None:
    identity = Identity.decode(bytes(32) + bytes(64) + X25519_PRIVATE)

    assert len(identity.public.encoded) == PUBLIC_SIZE == 1_248
    assert identity.public.encoded[-32:] == X25519_PUBLIC


def labelled_extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def labelled_expand(suite: bytes, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    assert length <= 32
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


def key_schedule(vector: dict[str, Any], aead: int) -> tuple[bytes, bytes]:
    """Return key and nonce of HPKE base mode, computed step by step (RFC 9180, section 5.1)."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (vector["kem_id"], vector["kdf_id"], aead))
    context = b"\x00" + labelled_extract(suite, b"", b"psk_id_hash", b"")
    context += labelled_extract(suite, b"", b"info_hash", bytes.fromhex(vector["info"]))
    secret = labelled_extract(suite, bytes.fromhex(vector["shared_secret"]), b"secret", b"")
    return labelled_expand(suite, secret, b"key", context, 32), labelled_expand(
        suite, secret, b"base_nonce", context, 12
    )


def test_sealing_matches_the_hybrid_hpke_draft() -> None:
    vector = json.loads((VECTORS / "hpke_mlkem768_x25519.json").read_text())
    info, plaintext = bytes.fromhex(vector["info"]), bytes.fromhex(vector["encryption"]["pt"])
    # In the draft, the private key is the seed of both halves.
    halves = hashlib.shake_256(bytes.fromhex(vector["skRm"])).digest(96)
    identity = Identity.decode(bytes(32) + halves)
    assert identity.public.encoded[32:].hex() == vector["pkRm"]

    # The draft uses this KEM with another AEAD. Its vector proves the key schedule, which then gives our key.
    key, nonce = key_schedule(vector, vector["aead_id"])
    assert (key.hex(), nonce.hex()) == (vector["key"], vector["base_nonce"])
    theirs = ChaCha20Poly1305(key).encrypt(nonce, plaintext, bytes.fromhex(vector["encryption"]["aad"]))
    assert theirs.hex() == vector["encryption"]["ct"]

    key, nonce = key_schedule(vector, 2)
    sealed = bytes.fromhex(vector["enc"]) + AESGCM(key).encrypt(nonce, plaintext, b"")
    assert identity.open(sealed, info) == plaintext


# Sealing


@given(plaintext=st.binary(max_size=2_000), info=st.binary(max_size=200))
def test_seal_opens_only_with_its_key_and_info(anna: Identity, ben: Identity, plaintext: bytes, info: bytes) -> None:
    sealed = anna.public.seal(plaintext, info)

    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD
    assert anna.open(sealed, info) == plaintext
    with pytest.raises(EncryptionError):
        anna.open(sealed, info + b"x")
    with pytest.raises(EncryptionError):
        ben.open(sealed, info)


def test_sealing_twice_gives_different_bytes(anna: Identity) -> None:
    assert anna.public.seal(b"same", b"") != anna.public.seal(b"same", b"")


def test_altered_sealed_body_does_not_open(anna: Identity) -> None:
    sealed = anna.public.seal(b"plaintext", b"info")

    faulty = [sealed[:length] for length in range(0, len(sealed), 7)]
    faulty += [sealed[:-1], sealed + b"x", sealed[1:], b"x" + sealed]
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1 << position % 8
        faulty.append(bytes(changed))
    for data in faulty:
        with pytest.raises(EncryptionError) as caught:
            anna.open(data, b"info")
        # All faults give the same error, so that an attacker learns nothing from it.
        assert str(caught.value) == "the body cannot be decrypted"


# Signing


@given(st.binary(max_size=500))
def test_signature_is_valid_for_one_text_and_key(anna: Identity, ben: Identity, data: bytes) -> None:
    signature = anna.sign(data)

    assert len(signature) == SIGNATURE_SIZE
    anna.public.verify(signature, data)
    for public, signed, text in (
        (anna.public, signature, data + b"x"),
        (ben.public, signature, data),
        (anna.public, bytes(64), data),
    ):
        with pytest.raises(SignatureError):
            public.verify(signed, text)


@pytest.mark.parametrize("signature", [b"", b"x" * 63, b"x" * 65, b"x" * 1_000])
def test_signature_of_wrong_length_is_refused(anna: Identity, signature: bytes) -> None:
    with pytest.raises(SignatureError):
        anna.public.verify(signature, b"data")


def test_signature_with_a_changed_bit_is_refused(anna: Identity) -> None:
    signature = anna.sign(b"data")

    for bit in range(8 * SIGNATURE_SIZE):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            anna.public.verify(bytes(changed), b"data")


# Encodings


def test_private_keys_round_trip(anna: Identity) -> None:
    again = Identity.decode(anna.private_bytes)

    assert len(anna.private_bytes) == PRIVATE_SIZE
    assert again.private_bytes == anna.private_bytes
    assert again.public == anna.public
    assert again.open(anna.public.seal(b"plaintext", b""), b"") == b"plaintext"
    anna.public.verify(again.sign(b"data"), b"data")


def test_public_keys_round_trip(anna: Identity) -> None:
    again = PublicIdentity.decode(anna.public.encoded)

    assert again == anna.public
    again.verify(anna.sign(b"data"), b"data")
    assert anna.open(again.seal(b"plaintext", b""), b"") == b"plaintext"


def test_each_identity_has_its_own_keys(anna: Identity, ben: Identity) -> None:
    for start, end in ((0, 32), (32, 96), (96, 128)):
        assert anna.private_bytes[start:end] != ben.private_bytes[start:end]


@pytest.mark.parametrize("size", [0, 1, PRIVATE_SIZE - 1, PRIVATE_SIZE + 1, PUBLIC_SIZE])
def test_private_key_of_wrong_length_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        Identity.decode(bytes(size))


@pytest.mark.parametrize("size", [0, 1, PUBLIC_SIZE - 1, PUBLIC_SIZE + 1])
def test_public_key_of_wrong_length_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        PublicIdentity.decode(bytes(size))


def test_invalid_lattice_key_is_refused(anna: Identity) -> None:
    encoded = anna.public.encoded

    with pytest.raises(MalformedError):
        PublicIdentity.decode(encoded[:32] + b"\xff" * 1_184 + encoded[-32:])


@pytest.mark.parametrize(
    "point",
    [
        # Points of small order (RFC 7748, section 7): a secret that is agreed with one of them is known to all.
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xed" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
    ],
    ids=lambda point: point[:2].hex(),
)
def test_point_of_small_order_is_refused(anna: Identity, point: bytes) -> None:
    with pytest.raises(MalformedError):
        PublicIdentity.decode(anna.public.encoded[:-32] + point)


@settings(max_examples=20)
@given(signing=st.binary(min_size=32, max_size=32), point=st.binary(min_size=32, max_size=32))
def test_any_key_bytes_are_usable_or_malformed(anna: Identity, signing: bytes, point: bytes) -> None:
    try:
        identity = PublicIdentity.decode(signing + anna.public.encoded[32:-32] + point)
    except MalformedError:
        return
    assert len(identity.seal(b"plaintext", b"")) == 9 + SEAL_OVERHEAD


# Texts for people and logs


def test_fingerprint_is_160_bits_in_groups_of_four(anna: Identity, ben: Identity) -> None:
    digest = hashlib.sha256(b"syft-flwr fingerprint" + anna.public.encoded).digest()
    groups = anna.public.fingerprint.split(" ")

    assert [len(group) for group in groups] == [4] * 8
    assert base64.b32decode("".join(groups)) == digest[:20]
    assert anna.public.fingerprint != ben.public.fingerprint


def test_key_id_covers_all_keys(anna: Identity, ben: Identity) -> None:
    assert anna.public.key_id == hashlib.sha256(b"syft-flwr key id" + anna.public.encoded).hexdigest()[:32]
    mixed = PublicIdentity.decode(anna.public.encoded[:32] + ben.public.encoded[32:])
    assert len({anna.public.key_id, ben.public.key_id, mixed.key_id}) == 3


def test_text_forms_hide_private_keys(anna: Identity) -> None:
    text = f"{anna!r} {anna} {anna.public!r}"

    for start, end in ((0, 32), (32, 64), (64, 96), (96, 128)):
        secret = anna.private_bytes[start:end]
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
        assert base64.b64encode(secret).decode() not in text
    assert repr(anna) == f"Identity({anna.public.key_id})"


def test_identity_cannot_be_pickled(anna: Identity) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(anna)


def test_errors_do_not_show_keys(anna: Identity) -> None:
    with pytest.raises(MalformedError) as caught:
        Identity.decode(anna.private_bytes[:-1])

    assert anna.private_bytes[:-1].hex() not in str(caught.value)
    assert "length" in str(caught.value)
