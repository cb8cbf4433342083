"""The test vectors of the protocol: each gives exactly its expected result or error."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from syft_flwr import errors
from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._crypto.segments import open_segments, seal
from syft_flwr._messaging.layout import lay_out
from syft_flwr._messaging.wire.body import decode as decode_body
from syft_flwr._messaging.wire.card import read_card
from syft_flwr._messaging.wire.envelope import decode
from syft_flwr._messaging.wire.heartbeat import read_heartbeat
from syft_flwr.fl_orchestrator.request_config import read_config

FOLDER = Path(__file__).parent.parent / "vectors"
FILES = ("envelopes", "cards", "heartbeats", "bodies", "run_configs", "segments")


def load(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def vectors(name: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in load(name)["vectors"]]


def open_envelope(vector: dict[str, Any]) -> None:
    keys = load("envelopes")["keys"]
    anna = PublicIdentity.decode(bytes.fromhex(keys["anna"]["public"]))
    ben = Identity.decode(bytes.fromhex(keys["ben"]["private"]))
    envelope = decode(bytes.fromhex(vector["file"]))
    envelope.verify(anna)
    body = envelope.open(ben, encryption=vector["encryption"])
    assert body.hex() == vector["body"]
    decode_body(body)


def open_card(vector: dict[str, Any]) -> None:
    card = read_card(json.dumps(vector["card"]).encode(), vector["email"])
    assert card.keys.encoded.hex() == vector["card"]["keys"]
    assert card.software == vector["card"].get("software", "")


def open_heartbeat(vector: dict[str, Any]) -> None:
    anna = PublicIdentity.decode(bytes.fromhex(load("envelopes")["keys"]["anna"]["public"]))
    place: dict[str, Any] = {"role": "data-owner", "email": "anna@example.org", "app": "diabetes_prediction"}
    heartbeat = read_heartbeat(json.dumps(vector["heartbeat"]).encode(), identity=anna, **place)
    assert heartbeat.number == (vector["heartbeat"]["session"], vector["heartbeat"]["beat"])


def open_body(vector: dict[str, Any]) -> None:
    body = decode_body(bytes.fromhex(vector["body"]))
    assert decode_body(body.encode()) == body


def open_config(vector: dict[str, Any]) -> None:
    body = lay_out([b"", bytes.fromhex(vector["buffer"])], [True, True], [], [])
    assert {key: str(value) for key, value in read_config(body).items()} == vector["values"]


def open_stream(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["key"])
    if "file" in vector:
        plaintext, file = bytes.fromhex(vector["plaintext"]), bytes.fromhex(vector["file"])
    else:
        plaintext = bytes(number % 251 for number in range(vector["plaintext_size"]))
        file = b"".join(bytes(segment) for segment in seal(key, [memoryview(plaintext)]))
        assert len(file) == vector["file_size"]
        assert hashlib.sha256(file).hexdigest() == vector["file_sha256"]
    target = bytearray(len(plaintext))
    for _ in open_segments(key, io.BytesIO(file), [memoryview(target)]):
        pass
    assert target == plaintext


CASES = [
    pytest.param(check, *parameters.values, id=f"{name}: {parameters.id}")
    for name, check in zip(
        FILES, (open_envelope, open_card, open_heartbeat, open_body, open_config, open_stream), strict=True
    )
    for parameters in vectors(name)
]


@pytest.mark.parametrize(("check", "vector"), CASES)
def test_vector_gives_its_expected_result(check: Any, vector: dict[str, Any]) -> None:
    if vector["expect"] == "ok":
        check(vector)
        return
    with pytest.raises(errors.SyftFlwrError) as caught:
        check(vector)
    assert type(caught.value).__name__ == vector["expect"]


def test_private_and_public_vector_keys_match() -> None:
    for name, pair in load("envelopes")["keys"].items():
        assert Identity.decode(bytes.fromhex(pair["private"])).public.encoded.hex() == pair["public"], name


def test_script_writes_the_committed_vectors(tmp_path: Path) -> None:
    subprocess.run([sys.executable, FOLDER / "make_vectors.py", tmp_path], check=True, timeout=60)

    for name in FILES:
        here, made = load(name)["vectors"], load(name, tmp_path)["vectors"]
        assert [(vector["name"], vector["expect"]) for vector in here] == [(v["name"], v["expect"]) for v in made]
        assert len({vector["name"] for vector in here}) == len(here)
        for committed, fresh in zip(here, made, strict=True):
            randomised = name == "envelopes" and "sealed" in committed["name"]
            assert randomised or committed == fresh
