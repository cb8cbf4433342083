"""Reads the file formats of protocol.md, written from that document only, without an import of the package.

It is an example for other implementations. It also tests the document: ``tests/unit/test_docs.py`` reads envelopes and
objects of the package with it. HPKE is written out here, because another language may have no library for it. The package
itself uses a library.
"""

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITE = b"HPKE" + bytes.fromhex("647a 0001 0002")


def read_envelope(data: bytes, sender: bytes, recipient: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the decrypted body of an envelope.

    Args:
        data: the bytes of the envelope.
        sender: the public identity of the sender, 1,248 bytes.
        recipient: the private identity of the recipient, 128 bytes.

    Raises:
        ValueError: the envelope does not have the form of the protocol.
        InvalidSignature: the sender did not sign it.
    """
    magic, version, header_size = struct.unpack_from(">8sBI", data)
    if (magic, version) != (b"SYFTFLWR", 3):
        raise ValueError("not an envelope of version 3")
    signed_head, rest = data[: 13 + header_size], data[13 + header_size :]
    signature, body = rest[:64], rest[64:]
    Ed25519PublicKey.from_public_bytes(sender[:32]).verify(signature, b"syft-flwr envelope 3\x00" + signed_head + body)
    header = json.loads(signed_head[13:])
    if canonical(header) != signed_head[13:]:
        raise ValueError("the header is not canonical")
    if len(body) != header["body_size"]:
        raise ValueError("the size of the body differs from the header")
    if header["encryption"] == "none":
        return header, body
    return header, open_body(body, recipient, b"syft-flwr body 3\x00" + signed_head)


def open_body(sealed: bytes, recipient: bytes, info: bytes) -> bytes:
    """Return the plaintext of a sealed body: HPKE base mode, RFC 9180 section 5.1, one message, no additional data."""
    lattice_part, curve_part, ciphertext = sealed[:1088], sealed[1088:1120], sealed[1120:]
    curve = X25519PrivateKey.from_private_bytes(recipient[96:])
    # X-Wing's combiner binds both shared secrets to the X25519 ciphertext and key.
    shared = hashlib.sha3_256(
        MLKEM768PrivateKey.from_seed_bytes(recipient[32:96]).decapsulate(lattice_part)
        + curve.exchange(X25519PublicKey.from_public_bytes(curve_part))
        + curve_part
        + curve.public_key().public_bytes_raw()
        + rb"\.//^"
        + b"\\"
    ).digest()
    context = b"\x00" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key, nonce = _expand(secret, b"key", context, 32), _expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, None)


def _extract(salt: bytes, label: bytes, key_material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE + label + key_material, "sha256")


def _expand(secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    # One block of HKDF-Expand is enough for 32 bytes.
    text = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info
    return hmac.digest(secret, text + b"\x01", "sha256")[:length]


def read_card(data: bytes, email: str) -> tuple[bytes, str]:
    """Return the public identity and the software in a key card, after a check of its signature."""
    card = json.loads(data)
    public, software = bytes.fromhex(card["keys"]), card.get("software", "")
    if (card["format"], card["email"]) != ("syft-flwr card", email):
        raise ValueError("not the card of this email")
    statement = {
        1: b"syft-flwr card 1\x00" + email.encode() + b"\x00" + public,
        2: b"syft-flwr card 2\x00" + email.encode() + b"\x00" + software.encode() + b"\x00" + public,
    }[card["version"]]
    Ed25519PublicKey.from_public_bytes(public[:32]).verify(bytes.fromhex(card["signature"]), statement)
    return public, software


def fingerprint(public: bytes) -> str:
    text = base64.b32encode(hashlib.sha256(b"syft-flwr fingerprint" + public).digest()[:20]).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def read_heartbeat(data: bytes, sender: bytes) -> dict[str, Any]:
    """Return the fields of a heartbeat, after a check of its signature."""
    heartbeat = json.loads(data)
    signature = bytes.fromhex(heartbeat.pop("signature"))
    statement = b"syft-flwr heartbeat 3\x00" + canonical(heartbeat)
    Ed25519PublicKey.from_public_bytes(sender[:32]).verify(signature, statement)
    return heartbeat


def canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_body(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the manifest and the inline bytes."""
    (size,) = struct.unpack_from(">I", body)
    return json.loads(body[4 : 4 + size]), body[4 + size :]


def read_object(data: bytes, reference: dict[str, Any]) -> bytes:
    """Return the plaintext of the file of an object; ``reference`` is its entry in the manifest."""
    if reference.get("sha256") and hashlib.sha256(data).hexdigest() != reference["sha256"]:
        raise ValueError("not the object that was signed")
    if not reference.get("key"):
        return data
    cipher, size = AESGCM(bytes.fromhex(reference["key"])), (1 << 20) + 16
    segments = [data[start : start + size] for start in range(0, len(data), size)]
    plaintext = b"".join(
        cipher.decrypt(number.to_bytes(11, "big") + bytes([number == len(segments) - 1]), segment, None)
        for number, segment in enumerate(segments)
    )
    if len(plaintext) != reference["size"]:
        raise ValueError("the size of the object differs from the manifest")
    return plaintext


def read_run_config(body: bytes) -> dict[str, bool | int | float | str]:
    """Return the run configuration in the body of a request, which is its second buffer."""
    manifest, inline = read_body(body)
    first, second = manifest["buffers"][:2]
    start = 0 if first.get("pieces") else first["size"]
    if second.get("pieces") or second["size"] > 48 * 1024:
        raise ValueError("the run configuration is not inline, or too large")
    (record,) = _fields(inline[start : start + second["size"]])
    name, (kind, config) = _fields(record[1])
    if name != (1, b"run-config") or kind != 4:
        raise ValueError("not the record of a run configuration")
    values: dict[str, bool | int | float | str] = {}
    for _, item in _fields(config):
        (_, key), (_, value) = _fields(item)
        ((kind, scalar),) = _fields(value)
        values[key.decode()] = _SCALARS[kind](scalar)
    return values


#: The values of a config record by the number of their protobuf field. A `sint64` has its sign in the last bit.
_SCALARS: dict[int, Any] = {
    1: lambda double: struct.unpack("<d", double)[0],
    2: lambda number: (number >> 1) ^ -(number & 1),
    4: bool,
    5: lambda text: text.decode(),
}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field of a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size, at = _varint(message, at) if tag & 7 == 2 else (8, at)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value, shift, at = value | (data[at] & 0x7F) << shift, shift + 7, at + 1
    return value | data[at] << shift, at + 1


def read_buffers(body: bytes, files: dict[str, bytes]) -> list[bytes]:
    """Return the buffers of a body; ``files`` has the content of each object's file by id."""
    manifest, inline = read_body(body)
    objects = [read_object(files[reference["id"]], reference) for reference in manifest.get("objects", [])]
    buffers = []
    for buffer in manifest.get("buffers", []):
        if buffer.get("pieces"):
            buffers.append(b"".join(objects[number][start : start + size] for number, start, size in buffer["pieces"]))
        else:
            buffers.append(inline[: buffer["size"]])
            inline = inline[buffer["size"] :]
    return buffers
