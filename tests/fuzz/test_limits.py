"""The largest allowed files: their memory, as the kernel counts it, stays bounded, and their time is linear."""

import functools
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hostile.invariants import MEMORY, Guarded, bounded_memory, can_measure, release
from hostile.people import ANNA, ANNA_EMAIL, APP

from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire.card import read_card
from syft_flwr._messaging.wire.envelope import decode as decode_envelope
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, read_heartbeat
from syft_flwr._messaging.wire.limits import (
    MAX_BUFFERS,
    MAX_CARD,
    MAX_HEADER,
    MAX_HEARTBEAT,
    MAX_HELD,
    MAX_MANIFEST,
    MAX_OBJECT,
    MAX_OBJECTS,
    MAX_WITHDRAWN,
)
from syft_flwr.names import AppNames
from syft_flwr.transport.syftbox import SyftBoxTransport

measured = pytest.mark.skipif(not can_measure(), reason="this system does not report the peak memory of a process")

ID, HASH = "0" * 32, "0" * 64
OBJECT = f'{{"id":"{ID}","size":{MAX_OBJECT},"key":"{HASH}","sha256":"{HASH}"}}'
#: Bytes of an object.
LARGE = MAX_OBJECT


def fill(head: str, item: str, tail: str, *, limit: int = MAX_MANIFEST, most: int | None = None) -> bytes:
    """Return ``item`` repeated as often as the limit allows; ``#`` in it becomes its number."""
    room = limit - len(head) - len(tail)
    count = min(room // len(item.replace("#", "0000000") + ","), most or room)
    items = (item.replace("#", f"{number:07}") for number in range(count))
    return (head + ",".join(items) + tail).encode()


def nested(pieces: str, *, buffers: int) -> bytes:
    """Return a manifest with the same pieces in each buffer, as many as a buffer can have."""
    buffer = f'{{"size":0,"pieces":[{",".join([pieces] * MAX_OBJECTS)}]}}'
    return f'{{"buffers":[{",".join([buffer] * buffers)}],"objects":[{OBJECT}]}}'.encode()


MANIFESTS: dict[str, Callable[[], bytes]] = {
    "a piece of a million strings": lambda: fill('{"buffers":[{"size":0,"pieces":[[', '""', "]]}]}"),
    "a piece of a million numbers": lambda: fill('{"buffers":[{"size":0,"pieces":[[', "1", "]]}]}"),
    "pieces without a number": lambda: nested("[]", buffers=45),
    "pieces that are objects": lambda: nested("{}", buffers=45),
    "pieces of one byte": lambda: nested("[0,0,1]", buffers=15),
    "unknown keys": lambda: fill("{", '"#":0', "}"),
    "one key many times": lambda: fill("{", '"buffers":[]', "}"),
    "an object with unknown keys": lambda: fill('{"objects":[{', '"#":0', "}]}"),
    "buffers of wrong pieces": lambda: fill(
        '{"buffers":[', '{"pieces":["","","","","","","","","",""]}', "]}", most=MAX_BUFFERS
    ),
    "objects of wrong keys": lambda: fill('{"objects":[', '{"a":0,"b":0,"c":0,"d":0,"e":0}', "]}", most=MAX_OBJECTS),
    "more buffers than allowed": lambda: fill('{"buffers":[', "0", "]}"),
    "more objects than allowed": lambda: fill('{"objects":[', "{}", "]}"),
    "lists in lists": lambda: fill('{"buffers":[', "[[[[[[]]]]]]", "]}"),
    "very deep lists": lambda: b'{"buffers":' + b"[" * (MAX_MANIFEST - 20),
    "a very long number": lambda: fill('{"buffers":[{"size":', "9" * (MAX_MANIFEST - 100), "}]}", most=1),
    "numbers of 4000 digits": lambda: fill('{"buffers":[{"size":0,"pieces":[[', "9" * 4_000, "]]}]}"),
    "a very long text": lambda: fill('{"error":{"code":"a","text":"', "a" * (MAX_MANIFEST - 100), '"}}', most=1),
    "a text of escapes": lambda: fill('{"error":{"code":"a","text":"', r"\u2028" * 499_000, '"}}', most=1),
}


def as_body(manifest: bytes) -> bytes:
    assert len(manifest) <= MAX_MANIFEST
    return len(manifest).to_bytes(4, "big") + manifest


@measured
@pytest.mark.parametrize("shape", MANIFESTS)
def test_manifest_stays_within_memory_limit(shape: str) -> None:
    data = as_body(MANIFESTS[shape]())
    bodies.decode(as_body(b"{}"))
    release()
    with bounded_memory(MEMORY):
        Guarded()(bodies.decode, data)


@measured
@pytest.mark.parametrize("item", ['"#":0', '"a":[[[[]]]]', '"waiting":["","",""]'])
def test_small_files_stay_within_memory_limit(item: str) -> None:
    prefix = b"SYFTFLWR\x01"
    header = fill("{", item, "}", limit=MAX_HEADER)
    envelope = prefix + len(header).to_bytes(4, "big") + header + bytes(64)
    card, heartbeat = (fill("{", item, "}", limit=limit) for limit in (MAX_CARD, MAX_HEARTBEAT))
    guarded = Guarded()
    release()
    with bounded_memory(MEMORY // 2):
        for _ in range(3):
            guarded(decode_envelope, envelope)
            guarded(read_card, card, ANNA_EMAIL)
            guarded(read_heartbeat, heartbeat, role="data-owner", email=ANNA_EMAIL, app=APP, identity=ANNA.public)


@pytest.mark.parametrize("role", ["aggregator", "data-owner"])
def test_heartbeat_at_its_limit_is_read(role: Role) -> None:
    ids = tuple(f"{number:032x}" for number in range(MAX_HELD if role == "data-owner" else MAX_WITHDRAWN))
    now = datetime(2030, 1, 1, tzinfo=UTC)
    lists = {"waiting": ids, "running": ID} if role == "data-owner" else {"withdrawn": ids}
    heartbeat = Heartbeat(role, ANNA_EMAIL, APP, (1 << 53) - 1, (1 << 53) - 1, now, missing=ids[:64], **lists)
    data = heartbeat.encode(ANNA)
    assert len(data) <= MAX_HEARTBEAT
    assert read_heartbeat(data, role=role, email=ANNA_EMAIL, app=APP, identity=ANNA.public) == heartbeat


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectFolder]:
    """Return the object folder of anna, in which the tests place sparse files."""
    transport = SyftBoxTransport(tmp_path, ANNA_EMAIL)
    yield ObjectFolder(transport, AppNames("app"), ANNA_EMAIL, encryption=False)
    transport.close()


@functools.cache
def hash_of_zeros(size: int) -> str:
    return hashlib.sha256(bytes(size)).hexdigest()


def placed(objects: ObjectFolder, root: Path, *, count: int) -> list[dict[str, object]]:
    """Write ``count`` objects of zeros as sparse files, and return their entries for a manifest."""
    refs = []
    for number in range(count):
        ref = {"id": f"{number:032x}", "size": LARGE, "sha256": hash_of_zeros(LARGE)}
        path = root / "datasites" / objects.names.object(ANNA_EMAIL, str(ref["id"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, LARGE)
        refs.append(ref)
    return refs


@measured
@pytest.mark.parametrize("wanted", [False, True], ids=["no buffer uses them", "one buffer uses them all"])
def test_objects_take_only_the_memory_of_their_buffers(objects: ObjectFolder, tmp_path: Path, wanted: bool) -> None:
    refs = placed(objects, tmp_path, count=2)
    pieces = [[number, 0, LARGE] for number in range(len(refs))]
    buffers = [{"size": LARGE * len(refs), "pieces": pieces}] if wanted else []
    body = bodies.decode(as_body(json.dumps({"buffers": buffers, "objects": refs}).encode()))
    release()
    with bounded_memory(MEMORY // 2 + sum(ref.size for ref in body.manifest.buffers)):
        read(objects, body, shared=False)


_FINELY_DIVIDED = """
    import hashlib, json
    from syft_flwr._messaging.wire import body
    from syft_flwr._messaging.arrivals import read
    from syft_flwr.names import AppNames
    from syft_flwr._messaging.objects import ObjectFolder
    from syft_flwr.errors import MalformedError
    from syft_flwr.transport.memory import MemoryNetwork

    size, buffers = {pieces}, {buffers}
    transport = MemoryNetwork().transport("a@x.org")
    folder = ObjectFolder(transport, AppNames("app"), "a@x.org", encryption=False)
    data = bytes(size * buffers)
    transport.put(folder.names.object("a@x.org", "0" * 32), data, readers=[])
    manifest = json.dumps({{
        "objects": [{{"id": "0" * 32, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}],
        "buffers": [
            {{"size": size, "pieces": [[0, number * size + at, 1] for at in range(size)]}} for number in range(buffers)
        ],
    }}).encode()
    try:
        opened = body.decode(len(manifest).to_bytes(4, "big") + manifest)
        assert b"".join(read(folder, opened, shared=False)) == data
    except MalformedError:
        print("refused")
    print("done")
"""


def run(script: str, *, patience: float) -> subprocess.CompletedProcess[str]:
    """Run a script in a separate Python process, which can hang or die."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=patience)


def test_one_byte_pieces_are_read_in_linear_time() -> None:
    # One second in linear time, one minute in quadratic time.
    script = _FINELY_DIVIDED.format(pieces=MAX_OBJECTS, buffers=3)
    done = run(script, patience=10)
    assert done.stdout.endswith("done\n"), done.stderr
