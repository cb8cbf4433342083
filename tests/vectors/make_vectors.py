"""Write the test vectors of ``docs/protocol.md``: ``python make_vectors.py [FOLDER]``.

Each vector has at most one fault, and names the error that it must give. The keys are fixed. Sealing is randomised, so
sealed files differ from run to run; the committed files are the reference.
"""

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flwr.proto.recorddict_pb2 import ConfigRecord as ProtoConfigRecord
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from syft_flwr._crypto.keys import SIGNATURE_SIZE, Identity
from syft_flwr._messaging.wire.card import write_card
from syft_flwr._messaging.wire.envelope import Header, encode

Vector = dict[str, Any]

ANNA, BEN, EVE = (
    Identity.decode(hashlib.shake_256(f"syft-flwr test vector {name}".encode()).digest(128))
    for name in ("anna", "ben", "eve")
)
EMAIL = "anna@example.org"
SOFTWARE = "syft-flwr 1.0.0"
MANIFEST = b'{"buffers":[{"size":4}]}'
SECONDS = {"download": 1.5, "wait": 2.0, "open": 0.25, "run": 1e9, "seal": 0.5}
BODY = len(MANIFEST).to_bytes(4, "big") + MANIFEST + b"data"
HEADER = Header(
    id="00112233445566778899aabbccddeeff",
    kind="request",
    run=4_611_686_018_427_387_904,
    app="diabetes_prediction",
    sender=EMAIL,
    recipient="ben@example.org",
    sender_key=ANNA.public.key_id,
    recipient_key=BEN.public.key_id,
    type="train",
    group="1",
    created=datetime(2030, 1, 1, 12, 0, 0, 123_000, UTC),
    expires=datetime(2030, 1, 1, 14, 0, tzinfo=UTC),
    encryption="mlkem768-x25519",
    body_size=1,
)
PLAIN = HEADER.model_copy(update={"encryption": "none"})
RESPONSE = PLAIN.model_copy(
    update={"kind": "response", "group": "Größe 1/2 \"'\\", "answers": hashlib.sha256(b"request").hexdigest()}
)
PREFIX = struct.Struct(">8sBI")
TAG = 16


def lay_out(header: bytes, body: bytes, *, version: int = 3, label: bytes = b"syft-flwr envelope 3\x00") -> bytes:
    """Return a signed envelope with any header and body, so that they are its only fault."""
    prefixed = PREFIX.pack(b"SYFTFLWR", version, len(header)) + header
    return prefixed + ANNA.sign(label + prefixed + body) + body


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def envelope(name: str, expect: str, file: bytes, *, encryption: bool = False, body: bytes = BODY) -> Vector:
    vector: Vector = {"name": name, "expect": expect, "encryption": encryption, "file": file.hex()}
    return {**vector, "body": body.hex()} if expect == "ok" else vector


def envelopes() -> Iterator[Vector]:
    sealed = encode(HEADER, BODY, ANNA, BEN.public)
    plain = encode(PLAIN, BODY, ANNA, None)
    header = PLAIN.model_copy(update={"body_size": len(BODY)}).encode()
    text = header.decode()
    start = PREFIX.size + len(header) + SIGNATURE_SIZE
    yield envelope("a sealed request", "ok", sealed, encryption=True)
    yield envelope("a plain request, encryption off", "ok", plain)
    yield envelope(
        "a plain response with characters that JSON escapes or keeps", "ok", encode(RESPONSE, BODY, ANNA, None)
    )

    yield envelope("an empty file", "IncompleteError", b"")
    yield envelope("cut in the magic", "IncompleteError", plain[:5])
    yield envelope("cut in the prefix", "IncompleteError", plain[:10])
    yield envelope("cut in the header", "IncompleteError", plain[:100])
    yield envelope("cut in the signature", "IncompleteError", plain[: start - 1])
    yield envelope("cut before the body", "IncompleteError", plain[:start])
    yield envelope("cut in the body", "IncompleteError", plain[:-1])

    yield envelope("another magic", "MalformedError", b"SYFTFLWX" + plain[8:])
    yield envelope("a JSON message of SyftBox RPC", "MalformedError", b'{"id": "00112233-4455-6677-8899-aabbccddeeff"}')
    yield envelope("version 0", "MalformedError", lay_out(header, BODY, version=0))
    yield envelope("version 1", "MalformedError", lay_out(header, BODY, version=1))
    yield envelope("version 2", "MalformedError", lay_out(header, BODY, version=2))
    yield envelope("version 4", "MalformedError", lay_out(header, BODY, version=4))
    yield envelope("a header of no bytes", "MalformedError", PREFIX.pack(b"SYFTFLWR", 1, 0))
    yield envelope("a header over its limit", "MalformedError", PREFIX.pack(b"SYFTFLWR", 1, 8_193))
    yield envelope("a byte behind the body", "MalformedError", plain + b"\x00")
    fields = json.loads(text)
    compact = {"separators": (",", ":"), "ensure_ascii": False}
    malformed = {
        "keys out of order": json.dumps(dict(reversed(fields.items())), **compact),
        "spaces": json.dumps(fields, ensure_ascii=False),
        "a key twice": text[:-1] + ',"type":"train"}',
        "a float": text.replace('"run":4611686018427387904', '"run":4611686018427387904.0'),
        "an escape that is not needed": text.replace('"train"', '"tr\\u0061in"'),
        "a time with Z": text.replace("+00:00", "Z"),
        "a time without milliseconds": text.replace("14:00:00.000+", "14:00:00+"),
        "an unknown key": json.dumps({**fields, "zone": ""}, **compact),
        "no key id": json.dumps({key: value for key, value in fields.items() if key != "sender_key"}, **compact),
        "an id in capitals": text.replace("aabbccddeeff", "AABBCCDDEEFF"),
        "a run of 0": text.replace("4611686018427387904", "0"),
        "a run of 64 bits": text.replace("4611686018427387904", "9223372036854775808"),
        "an unknown kind": text.replace('"request"', '"event"'),
        "an unknown encryption": text.replace('"none"', '"aes"'),
        "a line break in the group": text.replace('"group":"1"', '"group":"1\\n"'),
        "an escape of terminals in the type": text.replace('"train"', '"train\\u001b]52;c;\\u0007"'),
        "an override of the direction in the type": text.replace('"train"', '"tr\u202eain"'),
        "a space in the sender": text.replace('"anna@', '"an na@'),
        "a slash in the app": text.replace("diabetes_prediction", "diabetes/prediction"),
        "a body over its limit": text.replace(f'"body_size":{len(BODY)}', '"body_size":3900001'),
    }
    for name, changed in malformed.items():
        yield envelope(f"a header with {name}", "MalformedError", lay_out(changed.encode(), BODY))

    yield envelope("a changed byte in the header", "SignatureError", plain.replace(b'"train"', b'"trail"'))
    yield envelope("a changed byte in the signature", "SignatureError", flip(plain, start - 1))
    yield envelope("a changed byte in the plain body", "SignatureError", flip(plain, len(plain) - 1))
    yield envelope(
        "a changed byte in the sealed body", "SignatureError", flip(sealed, len(sealed) - 1), encryption=True
    )
    yield envelope("signed by another", "SignatureError", encode(PLAIN, BODY, EVE, None))
    yield envelope("signed under another label", "SignatureError", lay_out(header, BODY, label=b"syft-flwr card 1\x00"))

    yield envelope("sealed to another", "EncryptionError", encode(HEADER, BODY, ANNA, EVE.public), encryption=True)
    moved = Header.model_validate_json(sealed[PREFIX.size : -len(BODY) - 1_136 - SIGNATURE_SIZE])
    yield envelope(
        "a sealed body under another header",
        "EncryptionError",
        lay_out(moved.model_copy(update={"run": 7}).encode(), sealed[-len(BODY) - 1_136 :]),
        encryption=True,
    )
    tail = flip(sealed[-len(BODY) - 1_136 :], len(BODY) + 1_135)
    yield envelope(
        "a changed byte in the sealed body, signed", "EncryptionError", lay_out(moved.encode(), tail), encryption=True
    )
    yield envelope("plain where encryption is on", "EncryptionError", plain, encryption=True)
    yield envelope("sealed where encryption is off", "EncryptionError", sealed, encryption=False)


def card_1() -> dict[str, Any]:
    """Return the card of anna in version 1, which has no software."""
    card = json.loads(write_card(EMAIL, ANNA, SOFTWARE))
    del card["software"]
    statement = b"syft-flwr card 1\x00" + EMAIL.encode() + b"\x00" + ANNA.public.encoded
    return {**card, "version": 1, "signature": ANNA.sign(statement).hex()}


def cards() -> Iterator[Vector]:
    card = json.loads(write_card(EMAIL, ANNA, SOFTWARE))
    other = json.loads(write_card(EMAIL, EVE, SOFTWARE))
    old = card_1()
    faults = {
        "a card": ("ok", {}),
        "another version": ("MalformedError", {"version": 3}),
        "version 1 with a software": ("MalformedError", {"version": 1}),
        "no software": ("MalformedError", {"software": ""}),
        "a software of 65 characters": ("MalformedError", {"software": "x" * 65}),
        "a software with a line feed": ("MalformedError", {"software": "syft-flwr 1.0.0\n"}),
        "a software that is not ASCII": ("MalformedError", {"software": "syft-flwr é"}),
        "another software": ("SignatureError", {"software": "syft-flwr 1.0.1"}),
        "an unknown key": ("MalformedError", {"more": ""}),
        "a key too short": ("MalformedError", {"keys": card["keys"][:-2]}),
        "no lattice key": ("MalformedError", {"keys": card["keys"][:64] + "ff" * 1_184 + card["keys"][-64:]}),
        "a point of small order": ("MalformedError", {"keys": card["keys"][:-64] + "00" * 32}),
        "the fingerprint of other keys": ("MalformedError", {"fingerprint": other["fingerprint"]}),
        "the keys of another": ("SignatureError", {"keys": other["keys"]}),
        "the signature of another": ("SignatureError", {"signature": other["signature"]}),
        "the card of another": ("AddressError", {"email": "ben@example.org"}),
    }
    for name, (expect, change) in faults.items():
        yield {"name": name, "expect": expect, "email": EMAIL, "card": {**card, **change}}
    yield {"name": "a card of version 1", "expect": "ok", "email": EMAIL, "card": old}
    renamed = {**old, "version": 2, "software": SOFTWARE}
    yield {
        "name": "version 2 with the signature of version 1",
        "expect": "SignatureError",
        "email": EMAIL,
        "card": renamed,
    }


def signed_heartbeat(label: bytes = b"syft-flwr heartbeat 3\x00", **change: Any) -> dict[str, Any]:
    """Return a heartbeat of anna with these changes, which her signature covers."""
    fields = {
        "format": "syft-flwr heartbeat",
        "version": 3,
        "role": "data-owner",
        "email": EMAIL,
        "app": "diabetes_prediction",
        "session": 1_893_499_200_000,
        "beat": 17,
        "written": "2030-01-01T12:00:00.123456Z",
        "running": "00112233445566778899aabbccddeeff",
        "waiting": ["0123456789abcdef0123456789abcdef"],
        "missing": [],
        "withdrawn": [],
    } | change
    statement = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return {**fields, "signature": ANNA.sign(label + statement).hex()}


def heartbeats() -> Iterator[Vector]:
    good = signed_heartbeat()
    files = {
        "a heartbeat": ("ok", good),
        "an idle client": ("ok", signed_heartbeat(running="", waiting=[])),
        "the highest session and beat": ("ok", signed_heartbeat(session=(1 << 53) - 1, beat=(1 << 53) - 1)),
        "version 2": ("MalformedError", signed_heartbeat(b"syft-flwr heartbeat 2\x00", version=2)),
        "signed under the label of version 2": ("SignatureError", signed_heartbeat(b"syft-flwr heartbeat 2\x00")),
        "an unknown key": ("MalformedError", signed_heartbeat(serving_since="2030-01-01T12:00:00Z")),
        "a session of 0": ("MalformedError", signed_heartbeat(session=0)),
        "a session that is too high": ("MalformedError", signed_heartbeat(session=1 << 53)),
        "a session that is a text": ("MalformedError", signed_heartbeat(session="1")),
        "a session that is a fraction": ("MalformedError", signed_heartbeat(session=1.0)),
        "a beat of 0": ("MalformedError", signed_heartbeat(beat=0)),
        "a time in another form": ("MalformedError", signed_heartbeat(written="2030-01-01T12:00:00+00:00")),
        "a request id in capitals": ("MalformedError", signed_heartbeat(running="A" * 32)),
        "another role": ("AddressError", signed_heartbeat(role="aggregator")),
        "another participant": ("AddressError", signed_heartbeat(email="ben@example.org")),
        "another app": ("AddressError", signed_heartbeat(app="other")),
        "another session": ("SignatureError", {**good, "session": good["session"] + 1}),
        "another beat": ("SignatureError", {**good, "beat": good["beat"] + 1}),
        "another running request": ("SignatureError", {**good, "running": ""}),
    }
    for name, (expect, heartbeat) in files.items():
        yield {"name": name, "expect": expect, "heartbeat": heartbeat}


def bodies() -> Iterator[Vector]:
    ref = {"id": "00112233445566778899aabbccddeeff", "size": 100, "key": "42" * 32, "sha256": "17" * 32}
    piece = {"buffers": [{"size": 10, "pieces": [[0, 90, 10]]}], "objects": [ref]}
    vectors: list[tuple[str, str, Any, bytes]] = [
        ("nothing", "ok", {}, b""),
        ("two inline buffers and an empty one", "ok", {"buffers": [{"size": 3}, {"size": 0}, {"size": 1}]}, b"abcd"),
        ("a piece of an object", "ok", piece, b""),
        ("an error", "ok", {"error": {"code": "app-raised", "text": "why", "reference": "r"}}, b""),
        ("an error with its seconds", "ok", {"error": {"code": "app-raised", "text": "why"}, "seconds": SECONDS}, b""),
        ("all seconds of a reply", "ok", {"buffers": [{"size": 1}], "seconds": SECONDS}, b"a"),
        ("keys of the run configuration that were kept", "ok", {"kept_keys": ["lr", "model.name", "größe"]}, b""),
        ("an error with kept keys", "ok", {"error": {"code": "app-raised", "text": ""}, "kept_keys": ["a"]}, b""),
        ("the most kept keys", "ok", {"kept_keys": [f"{n:03}" + "k," * 62 for n in range(256)]}, b""),
        ("too many kept keys", "MalformedError", {"kept_keys": [str(n) for n in range(257)]}, b""),
        ("a kept key that is empty", "MalformedError", {"kept_keys": [""]}, b""),
        ("a kept key that is too long", "MalformedError", {"kept_keys": ["k" * 129]}, b""),
        ("a kept key that is a number", "MalformedError", {"kept_keys": [1]}, b""),
        ("the round of a request", "ok", {"buffers": [{"size": 1}], "round": "3"}, b"a"),
        ("the longest round", "ok", {"round": "größe" * 4}, b""),
        ("a round that is too long", "MalformedError", {"round": "r" * 21}, b""),
        ("a round that is a number", "MalformedError", {"round": 3}, b""),
        ("negative seconds", "MalformedError", {"seconds": {"download": -0.1}}, b""),
        ("unknown seconds", "MalformedError", {"seconds": {"upload": 1.0}}, b""),
        ("inline bytes missing", "MalformedError", {"buffers": [{"size": 3}]}, b"ab"),
        ("inline bytes too many", "MalformedError", {"buffers": [{"size": 3}]}, b"abcd"),
        ("a piece of no object", "MalformedError", {"buffers": piece["buffers"]}, b""),
        ("a piece beyond its object", "MalformedError", {**piece, "objects": [{**ref, "size": 99}]}, b""),
        (
            "pieces that do not add up",
            "MalformedError",
            {**piece, "buffers": [{"size": 9, "pieces": [[0, 90, 10]]}]},
            b"",
        ),
        ("an object twice", "MalformedError", {"objects": [ref, ref]}, b""),
        ("an object over its limit", "MalformedError", {"objects": [{**ref, "size": (64 << 20) + 1}]}, b""),
        ("an error with content", "MalformedError", {"error": {"code": "invalid", "text": ""}}, b"a"),
        ("an unknown key", "MalformedError", {"more": 1}, b""),
    ]
    for name, expect, manifest, inline in vectors:
        text = json.dumps(manifest, separators=(",", ":")).encode()
        yield {"name": name, "expect": expect, "body": (struct.pack(">I", len(text)) + text + inline).hex()}
    yield {"name": "shorter than its length field", "expect": "MalformedError", "body": "000000"}
    yield {"name": "a manifest longer than the body", "expect": "MalformedError", "body": "000000037b7d"}


def run_configs() -> Iterator[Vector]:
    """Yield the vectors: the second buffer of a request, alone in its body, behind an empty message."""

    def config(pairs: dict[str, Any], **more: Any) -> Any:
        record = ProtoConfigRecord()
        for key, value in pairs.items():
            item = record.items.add(key=key)
            for kind, field in ((bool, "bool"), (int, "sint64"), (float, "double"), (str, "string"), (bytes, "bytes")):
                if isinstance(value, kind):
                    setattr(item.value, field, value)
                    break
            else:
                item.value.sint_list.vals.extend(value)
        records = ProtoRecordDict()
        records.items.add(key=more.get("name", "run-config"), config_record=record)
        return records

    values = {"lr": 0.5, "model.name": "small net", "n": -(1 << 63), "on": True, "top": float("inf")}
    twice = config({"a": 1})
    twice.items[0].config_record.items.add(key="a").value.sint64 = 2
    two = config({})
    two.items.add(key="more", config_record=ProtoConfigRecord())
    empty_value = config({})
    empty_value.items[0].config_record.items.add(key="a")
    metrics = ProtoRecordDict()
    metrics.items.add(key="run-config").metric_record.SetInParent()
    vectors: list[tuple[str, dict[str, Any] | None, bytes]] = [
        ("no keys", {}, config({}).SerializeToString()),
        ("each type of value", values, config(values).SerializeToString()),
        ("256 keys", {str(n): n for n in range(256)}, config({str(n): n for n in range(256)}).SerializeToString()),
        ("32 KiB", {"k": "x" * 32_767}, config({"k": "x" * 32_767}).SerializeToString()),
        ("nothing", None, b""),
        ("no protobuf", None, b"\xff"),
        ("another name of the record", None, config({}, name="config").SerializeToString()),
        ("two records", None, two.SerializeToString()),
        ("a metric record", None, metrics.SerializeToString()),
        ("a list", None, config({"a": [1, 2]}).SerializeToString()),
        ("bytes", None, config({"a": b"1"}).SerializeToString()),
        ("a key without a value", None, empty_value.SerializeToString()),
        ("a key twice", None, twice.SerializeToString()),
        ("an empty key", None, config({"": 1}).SerializeToString()),
        ("a key with a line feed", None, config({"a\nb": 1}).SerializeToString()),
        ("a key of 129 characters", None, config({"k" * 129: 1}).SerializeToString()),
        ("257 keys", None, config({str(n): n for n in range(257)}).SerializeToString()),
        ("more than 32 KiB", None, config({"k": "x" * 32_768}).SerializeToString()),
        ("more than 48 KiB", None, config({"k": "x" * 49_152}).SerializeToString()),
    ]
    for name, expected, buffer in vectors:
        # JSON has no infinite numbers.
        known = {} if expected is None else {"values": {key: str(each) for key, each in expected.items()}}
        yield {"name": name, "expect": "MalformedError" if expected is None else "ok", "buffer": buffer.hex(), **known}


def segments() -> Iterator[Vector]:
    """Yield the vectors: short streams as bytes, and a long one as its recipe and the hash of the result."""
    key = hashlib.sha256(b"syft-flwr test vector segments").digest()
    cipher = AESGCM(key)

    def sealed(number: int, last: int, plaintext: bytes) -> bytes:
        return cipher.encrypt(number.to_bytes(11, "big") + bytes([last]), plaintext, None)

    text = b"the quick brown fox"
    whole = sealed(0, 1, text)
    small = [
        ("one segment", "ok", whole),
        ("a segment that is not the last", "IntegrityError", sealed(0, 0, text)),
        ("a segment with another number", "IntegrityError", sealed(1, 1, text)),
        ("a changed byte", "IntegrityError", flip(whole, 0)),
        ("a changed byte in the tag", "IntegrityError", flip(whole, len(whole) - 1)),
        ("cut by a byte", "IntegrityError", whole[:-1]),
        ("a byte too many", "IntegrityError", whole + b"\x00"),
        ("nothing", "IntegrityError", b""),
    ]
    for name, expect, file in small:
        yield {"name": name, "expect": expect, "key": key.hex(), "plaintext": text.hex(), "file": file.hex()}
    size = 2 * (1 << 20) + 5
    plaintext = (bytes(range(251)) * (size // 251 + 1))[:size]
    parts = [plaintext[start : start + (1 << 20)] for start in range(0, size, 1 << 20)]
    long = b"".join(sealed(number, int(number == len(parts) - 1), part) for number, part in enumerate(parts))
    yield {
        "name": "three segments; byte i of the plaintext is i modulo 251",
        "expect": "ok",
        "key": key.hex(),
        "plaintext_size": size,
        "file_size": len(long),
        "file_sha256": hashlib.sha256(long).hexdigest(),
    }


def main(folder: Path) -> None:
    keys = {
        name: {"private": identity.private_bytes.hex(), "public": identity.public.encoded.hex()}
        for name, identity in (("anna", ANNA), ("ben", BEN), ("eve", EVE))
    }
    files = {
        "envelopes": {
            "about": "anna asks ben, who decodes, verifies with anna's public keys and opens with his private ones.",
            "keys": keys,
            "vectors": list(envelopes()),
        },
        "cards": {"about": "Public key cards, read as the card of the email.", "vectors": list(cards())},
        "heartbeats": {
            "about": "Heartbeats in the place of anna as data owner of diabetes_prediction, signed with her keys.",
            "vectors": list(heartbeats()),
        },
        "bodies": {"about": "Opened bodies.", "vectors": list(bodies())},
        "run_configs": {
            "about": "The run configuration of a request: its second buffer. The values are shown as Python's str() does.",
            "vectors": list(run_configs()),
        },
        "segments": {"about": "Files of objects.", "vectors": list(segments())},
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
