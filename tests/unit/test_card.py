"""Public key cards: each is for one email and is signed with its own keys."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import old_card

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.card import KeyCard, read_card, write_card
from syft_flwr._messaging.wire.limits import MAX_CARD
from syft_flwr.errors import AddressError, MalformedError, RemoteProtocolError, SignatureError
from syft_flwr.software import SYFT_FLWR

EMAIL = "anna@x.org"


def fields(identity: Identity, email: str = EMAIL) -> dict[str, Any]:
    return dict(json.loads(write_card(email, identity)))


def read(card: dict[str, Any], email: str = EMAIL) -> None:
    read_card(json.dumps(card).encode(), email)


@given(st.emails().map(lambda email: email[:254]))
def test_read_card_returns_the_written_keys(anna: Identity, email: str) -> None:
    assert read_card(write_card(email, anna), email) == KeyCard(anna.public, SYFT_FLWR)


def test_card_bytes_are_stable_and_bounded(anna: Identity) -> None:
    card = write_card("x" * 240 + "@y.org", anna)

    assert write_card("x" * 240 + "@y.org", anna) == card
    assert len(card) <= MAX_CARD


def test_card_has_fingerprint_but_no_private_key(anna: Identity) -> None:
    card = fields(anna)

    assert card["fingerprint"] == anna.public.fingerprint
    assert bytes.fromhex(card["keys"]) == anna.public.encoded
    assert anna.private_bytes[:32].hex() not in json.dumps(card)
    assert set(card) == {"format", "version", "email", "software", "keys", "fingerprint", "signature"}


def test_card_of_another_email_is_refused(anna: Identity) -> None:
    with pytest.raises(AddressError, match=r"ben@y\.org"):
        read_card(write_card(EMAIL, anna), "ben@y.org")


def test_card_with_changed_email_is_refused(anna: Identity) -> None:
    with pytest.raises(SignatureError):
        read({**fields(anna), "email": "ben@y.org"}, "ben@y.org")


def test_keys_that_did_not_sign_are_refused(anna: Identity, eve: Identity) -> None:
    forged = fields(anna) | {"keys": eve.public.encoded.hex(), "fingerprint": eve.public.fingerprint}
    with pytest.raises(SignatureError):
        read(forged)
    # Both keys must belong to the signer: a foreign encryption key is refused too.
    mixed = anna.public.encoded[:32] + eve.public.encoded[32:]
    with pytest.raises(SignatureError):
        read(fields(anna) | {"keys": mixed.hex()})


def test_fingerprint_of_other_keys_is_refused(anna: Identity, eve: Identity) -> None:
    with pytest.raises(MalformedError, match="fingerprint"):
        read(fields(anna) | {"fingerprint": eve.public.fingerprint})


def test_unsigned_card_is_refused(anna: Identity) -> None:
    with pytest.raises(SignatureError):
        read(fields(anna) | {"signature": "0" * 128})


@pytest.mark.parametrize(
    "change",
    [
        {"format": "card"},
        {"version": 1},
        {"version": 3},
        {"version": True},
        {"version": 2.0},
        {"version": "2"},
        {"email": 7},
        {"keys": ""},
        {"keys": "0" * 2 * 1_247},
        {"keys": "0" * 2 * 1_249},
        {"keys": "Z" * 2 * 1_248},
        {"signature": ""},
        {"signature": "0" * 126},
        {"signature": None},
        {"fingerprint": "x" * 65},
        {"more": 1},
        {"software": ""},
        {"software": "x" * 65},
        {"software": "one\ntwo"},
        {"software": "a\x00b"},
        {"software": "é"},
        {"software": None},
    ],
    ids=str,
)
def test_card_with_bad_field_is_malformed(anna: Identity, change: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match=r"anna@x\.org"):
        read(fields(anna) | change)


@pytest.mark.parametrize("name", ["version", "email", "software", "keys", "fingerprint", "signature"])
def test_card_without_a_field_is_malformed(anna: Identity, name: str) -> None:
    with pytest.raises(MalformedError):
        read({key: value for key, value in fields(anna).items() if key != name})


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"x", b"\xff" * 10, b"[" * 10_000])
def test_non_card_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_card(data, EMAIL)


def test_truncated_card_is_malformed(anna: Identity) -> None:
    card = write_card(EMAIL, anna)

    for length in (*range(0, len(card) - 1, 97), len(card) - 2):
        with pytest.raises(MalformedError):
            read_card(card[:length], EMAIL)


def test_changed_byte_never_changes_the_keys(anna: Identity) -> None:
    card = write_card(EMAIL, anna)

    # Change every byte outside of the long hexadecimal keys, and every hundredth byte within them.
    start = card.index(b'"keys": "') + 10
    for position in [*range(start), *range(start, start + 2_490, 100), *range(start + 2_490, len(card))]:
        changed = bytearray(card)
        changed[position] ^= 0x01
        try:
            found = read_card(bytes(changed), EMAIL)
        except RemoteProtocolError:
            continue
        assert found == KeyCard(anna.public, SYFT_FLWR)


def test_card_of_an_older_release_has_no_software(anna: Identity) -> None:
    assert read_card(old_card(EMAIL, anna), EMAIL) == KeyCard(anna.public, "")


@pytest.mark.parametrize("software", ["", "syft-flwr 1.0.0"])
def test_old_card_with_a_software_is_malformed(anna: Identity, software: str) -> None:
    with pytest.raises(MalformedError):
        read(dict(json.loads(old_card(EMAIL, anna))) | {"software": software})


def test_signature_covers_the_software(anna: Identity) -> None:
    with pytest.raises(SignatureError):
        read(fields(anna) | {"software": "syft-flwr 9.9"})


def test_signature_of_an_old_card_fits_no_new_card(anna: Identity) -> None:
    old = dict(json.loads(old_card(EMAIL, anna)))
    for software in ("", SYFT_FLWR, EMAIL):
        with pytest.raises((SignatureError, MalformedError)):
            read(old | {"version": 2, "software": software})


def test_software_of_64_characters_fits(anna: Identity) -> None:
    longest = "~" * 32 + " " * 32
    assert read_card(write_card(EMAIL, anna, longest), EMAIL).software == longest
