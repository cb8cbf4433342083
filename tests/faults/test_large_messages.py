"""Shows the exchange of messages with many parts: each part is written once, checked, and deleted at the end.

A fault in one message gives one error that names its data owner. The other messages and the next one are answered. The
parts are small here, so that messages of some kilobytes have many parts.
"""

import contextlib
import errno
import hashlib
import io
import os
import sqlite3
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.federation import AGGREGATOR, OWNERS, Federation, reason_of
from faultkit.forge import Forge
from faultkit.parts import (
    Copies,
    Copy,
    assert_echo,
    bytes_of,
    exchange,
    make_app,
    model,
    part_sizes,
    use_small_parts,
)
from faultkit.storage import FolderStorage
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import FitIns, Parameters
from flwr.common.constant import ErrorCode
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.serverapp.strategy import FedAvg
from waiting import PATIENCE, eventually

from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.body import Body, BufferRef, Manifest, ObjectRef
from syft_flwr._messaging.wire.failures import told_by
from syft_flwr._messaging.wire.limits import MAX_MESSAGE, MAX_OBJECT, MAX_OBJECTS
from syft_flwr._store.database import Database
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator import app_runner
from syft_flwr.fl_orchestrator.request_config import PLACE, config_to_buffer

OWNER, OTHER = OWNERS
#: Bytes that numpy writes before the data of an array.
HEADER = 128
NOT_A_MESSAGE = "invalid: the content is not a Flower message"
#: Limit for the memory of a refusal, in bytes. It is far below the size of the refused message.
LITTLE = 48 << 20


def lie(message: Message, context: Context) -> RecordDict:
    """Reply with an array and a false description of its type or shape."""
    (array,) = message.content["arrays"].values()
    dtype, shape = str(message.content["lie"]["dtype"]), message.content["lie"]["shape"]
    lie = Array(dtype=dtype, shape=tuple(shape), stype=array.stype, data=array.data)
    return RecordDict({"arrays": ArrayRecord({"layer 0": lie})})


def reply_with_objects(message: Message, context: Context) -> RecordDict:
    """Reply with an array of Python objects, which could run code when it is loaded."""
    file = io.BytesIO()
    np.save(file, np.array(["code"] * 6_000, dtype=object), allow_pickle=True)
    pickled = Array("object", (6_000,), "numpy.ndarray", file.getvalue() + bytes(40_000))
    return RecordDict({"arrays": ArrayRecord({"layer 0": pickled})})


def echo_nothing(message: Message, context: Context) -> RecordDict:
    return RecordDict()


def fill_the_state(message: Message, context: Context) -> RecordDict:
    context.state["memory"] = ArrayRecord({"zeros": Array(np.zeros(60_000))})
    return RecordDict({"arrays": message.content["arrays"]})


APP = make_app(lie, reply_with_objects, echo_nothing, fill_the_state)


@pytest.fixture
def copies() -> Copies:
    return Copies()


@pytest.fixture
def federation(tmp_path: Path, copies: Copies) -> Iterator[Federation]:
    """Return a federation. At its end, the storage must have no object of a message."""
    with Federation(tmp_path / "homes", copies, client_app=APP) as federation:
        yield federation
        copies.wait_until_empty(OWNER)
        copies.wait_until_empty(OTHER)
    assert copies.objects() == []


@pytest.fixture
def ours(federation: Federation, copies: Copies) -> Copy:
    """Start all participants, wait for the start messages, and return the copy of the aggregator."""
    federation.start()
    federation.grid._caller.wait(federation.grid._announced, timeout=PATIENCE)
    copies[AGGREGATOR].count_from_now()
    return copies[AGGREGATOR]


# Written once


def test_record_for_all_data_owners_is_written_once(federation: Federation, ours: Copy) -> None:
    arrays = model(24_000, 300, 31_000)

    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)

    # The small array is inline in the envelopes.
    assert ours.objects() == part_sizes(55_000 + 2 * HEADER)
    assert [name.rpartition(".")[2] for name, _ in ours.written].count("request") == 2


def test_equal_arrays_of_parallel_threads_are_shared(federation: Federation, ours: Copy) -> None:
    arrays = model(24_000, 31_000)
    # Legacy strategies make one message and one record for each node, with the same bytes.
    messages = [federation.messages("echo", email, arrays=ArrayRecord(dict(arrays.items())))[0] for email in OWNERS * 4]

    with ThreadPoolExecutor(len(messages)) as threads:
        replies = list(threads.map(lambda message: federation.grid.send_and_receive([message]), messages))

    for (reply,) in replies:
        assert_echo(reply, arrays)
    assert ours.objects() == part_sizes(55_000 + 2 * HEADER)


class Nudging(NumPyClient):
    """A client that adds one to the model, so that each round has a different model."""

    def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        return [array + 1 for array in parameters], 1, {}


def test_legacy_proxies_send_each_model_once(tmp_path: Path, copies: Copies) -> None:
    rounds = 3
    app = ClientApp(client_fn=lambda _: Nudging().to_client())
    with Federation(tmp_path / "homes", copies, client_app=app) as federation:
        federation.start()
        ours = copies[AGGREGATOR]
        ours.count_from_now()
        run = federation.grid.run.run_id
        proxies = [GridClientProxy(node, federation.grid, run) for node in federation.grid.get_node_ids()]
        parameters = Parameters(bytes_of(ArrayRecord([np.zeros(5_000), np.zeros(1_250)])), "numpy.ndarray")
        for _ in range(rounds):
            instructions = FitIns(parameters, {})
            with ThreadPoolExecutor(2) as threads:
                results = list(threads.map(lambda proxy, ins=instructions: proxy.fit(ins, None, 1), proxies))
            assert results[0].parameters.tensors == results[1].parameters.tensors
            parameters = results[0].parameters
        assert ours.objects() == part_sizes(*[50_000 + 2 * HEADER] * rounds)
        assert len(copies.objects(AGGREGATOR)) == len(part_sizes(50_000 + 2 * HEADER))
    assert copies.objects() == []


def test_train_and_evaluate_share_one_model_upload(tmp_path: Path, copies: Copies) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        nudged = ArrayRecord([array + 1 for array in message.content["arrays"].to_numpy_ndarrays()])
        return Message(RecordDict({"arrays": nudged, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    with Federation(tmp_path / "homes", copies, client_app=app) as federation:
        federation.start()
        ours = copies[AGGREGATOR]
        ours.count_from_now()
        strategy = FedAvg(min_train_nodes=2, min_evaluate_nodes=2, min_available_nodes=2)
        result = strategy.start(federation.grid, ArrayRecord([np.zeros(6_000)]), num_rounds=2, timeout=30)
        assert result.arrays.to_numpy_ndarrays()[0].tolist() == [2.0] * 6_000
        # The initial model for training, and the model after each round, which evaluation and training share.
        assert ours.objects() == part_sizes(*[48_000 + HEADER] * 3)
    assert copies.objects() == []


def test_unchanged_arrays_are_not_written_again(federation: Federation, ours: Copy) -> None:
    frozen, head = model(24_000, 31_000, seed=1).values()
    first = ArrayRecord({"frozen": frozen, "head": head})
    for reply in exchange(federation, first):
        assert_echo(reply, first)

    ours.count_from_now()
    # An aggregation makes a new object with the same bytes.
    same = Array(frozen.dtype, frozen.shape, frozen.stype, bytes(bytearray(frozen.data)))
    second = ArrayRecord({"frozen": same, "head": model(31_000)["layer 0"]})
    for reply in exchange(federation, second):
        assert_echo(reply, second)
    assert ours.objects() == part_sizes(31_000 + HEADER)

    ours.count_from_now()
    for reply in exchange(federation, second):
        assert_echo(reply, second)
    assert ours.objects() == []


@pytest.mark.parametrize("kind", ["one object", "two objects of the same bytes"])
def test_tied_arrays_are_written_once(federation: Federation, copies: Copies, ours: Copy, kind: str) -> None:
    tied, other = model(24_000, 31_000).values()
    data = tied.data if kind == "one object" else bytes(bytearray(tied.data))
    arrays = ArrayRecord(
        {"in": tied, "middle": other, "out": Array(tied.dtype, tied.shape, tied.stype, data)}, keep_input=True
    )
    copies[OWNER].count_from_now()

    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)

    assert ours.objects() == part_sizes(55_000 + 2 * HEADER)
    assert copies[OWNER].objects() == part_sizes(55_000 + 2 * HEADER)


def test_objects_are_deleted_after_the_last_reply(tmp_path: Path, copies: Copies) -> None:
    with Federation(tmp_path / "homes", copies, client_app=APP) as federation:
        federation.introduce()
        federation.start(OWNER)
        first, second = model(40_000), model(50_000)
        sent = federation.push("echo", arrays=first)
        assert_echo(federation.pull(sent[:1])[0], first)
        old = copies.objects(AGGREGATOR)
        assert len(old) == len(part_sizes(40_000 + HEADER))

        assert_echo(exchange(federation, second, OWNER)[0], second)
        assert set(copies.objects(AGGREGATOR)) > set(old)

        federation[OTHER].start()
        assert_echo(federation.pull(sent[1:])[0], first)
        new = set(copies.objects(AGGREGATOR)) - set(old)
        assert copies.objects(AGGREGATOR) == sorted(new)
        assert len(new) == len(part_sizes(50_000 + HEADER))

        # The objects of the last message may be sent again, so they stay until the run ends.
        assert_echo(exchange(federation, second, OTHER)[0], second)
        assert copies.objects(AGGREGATOR) == sorted(new)
    assert copies.objects() == []


# Altered objects: the change, and the text of the error

Alteration = Callable[[Sequence[bytes], bytes], dict[int, bytes]]
ALTERATIONS: dict[str, tuple[Alteration, str]] = {
    "cut by a byte": (lambda parts, _: {1: parts[1][:-1]}, "bytes instead of"),
    "cut to a byte": (lambda parts, _: {1: b"x"}, "has 1 bytes instead of"),
    "longer by a byte": (lambda parts, _: {1: parts[1] + b"x"}, "bytes instead of"),
    "a hundred times as long": (lambda parts, _: {1: parts[1] * 100}, "bytes instead of"),
    "with one bit turned": (
        lambda parts, _: {1: parts[1][:5_000] + bytes([parts[1][5_000] ^ 1]) + parts[1][5_001:]},
        "a segment was changed, moved or sealed with another key",
    ),
    "with one bit of its tag turned": (
        lambda parts, _: {1: parts[1][:-1] + bytes([parts[1][-1] ^ 0x80])},
        "a segment was changed, moved or sealed with another key",
    ),
    "in place of another": (lambda parts, _: {1: parts[2]}, "a segment was changed, moved or sealed with another key"),
    "swapped with another": (
        lambda parts, _: {1: parts[2], 2: parts[1]},
        "a segment was changed, moved or sealed with another key",
    ),
    "of another message": (
        lambda parts, foreign: {1: foreign},
        "a segment was changed, moved or sealed with another key",
    ),
    "zeros": (lambda parts, _: {1: bytes(len(parts[1]))}, "a segment was changed, moved or sealed with another key"),
}


def altered(copies: Copies, names: Sequence[str], foreign: bytes, alteration: Alteration) -> dict[str, bytes]:
    """Return the altered content of some of these objects, by name."""
    whole = [name for name in names if len(copies.read(name)) == len(foreign)]
    changes = alteration([copies.read(name) for name in whole], foreign)
    return {whole[index]: content for index, content in changes.items()}


def whole_part(copies: Copies, owner: str) -> bytes:
    """Return the content of the longest object of an owner."""
    return max((copies.read(name) for name in copies.objects(owner)), key=len)


def test_altered_reply_part_fails_only_that_reply(federation: Federation, copies: Copies, ours: Copy) -> None:
    arrays = model(45_000)
    for kind, (alteration, text) in ALTERATIONS.items():
        ours.withhold(".response")
        sent = federation.push("echo", arrays=arrays)
        for email, message_id in zip(OWNERS, sent, strict=True):
            eventually(lambda e=email, i=message_id: copies.read(federation.response_name(e, i)), "a reply")
        ours.altered = altered(copies, copies.objects(OWNER), whole_part(copies, OTHER), alteration)
        ours.withhold()

        failed, answered = federation.pull(sent)

        assert_echo(answered, arrays)
        reason = reason_of(failed)
        assert reason.startswith(f"{OWNER}: integrity: object "), kind
        assert text in reason, kind
        assert any(name.rpartition("/")[2].removesuffix(".blob") in reason for name in ours.altered), kind
        assert failed.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
        copies.wait_until_empty(OWNER)
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


def test_altered_request_part_is_an_error_before_the_app(federation: Federation, copies: Copies, ours: Copy) -> None:
    theirs = copies[OWNER]
    exchange(federation, model(45_000))
    foreign = whole_part(copies, AGGREGATOR)
    for kind, (alteration, text) in ALTERATIONS.items():
        arrays = model(45_000)
        # No part arrives before the test has altered one of them.
        theirs.withhold(".blob")
        sent = federation.push("echo", arrays=arrays)
        assert_echo(federation.pull(sent[1:])[0], arrays)
        theirs.altered = altered(copies, copies.objects(AGGREGATOR), foreign, alteration)
        theirs.withhold()

        (failed,) = federation.pull(sent[:1])

        reason = reason_of(failed)
        assert reason.startswith(f"{OWNER}: integrity: object "), kind
        assert text in reason, kind
        assert federation[OWNER].journal.calls_of(sent[0]) == [], kind
        theirs.altered = {}
    arrays = model(45_000)
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


def test_duplicate_parts_change_nothing(federation: Federation, copies: Copies, ours: Copy) -> None:
    arrays = model(45_000)
    ours.withhold(".response")
    (message_id,) = federation.push("echo", OWNER, arrays=arrays)
    eventually(lambda: copies.read(federation.response_name(OWNER, message_id)), "the reply")
    doubles = []
    for name in copies.objects(OWNER):
        folder, _, leaf = name.rpartition("/")
        doubles.append(f"{folder}/{leaf[:30]}{'00' if leaf[30] == 'f' else 'ff'}.blob")
        copies.plant(doubles[-1], copies.read(name))
        # Report the true object again too.
        copies.plant(name, copies.read(name))
    ours.withhold()

    assert_echo(federation.pull([message_id])[0], arrays)

    assert federation[OWNER].journal.calls_of(message_id)
    for name in doubles:
        copies.take(name)


def is_complete(federation: Federation, message_id: str) -> bool:
    return not federation.grid._caller._pending.open([message_id])


def test_part_deleted_after_arrival_is_not_needed(federation: Federation, copies: Copies, ours: Copy) -> None:
    arrays = model(45_000)
    sent = federation.push("echo", arrays=arrays)
    eventually(lambda: all(is_complete(federation, message_id) for message_id in sent), "both replies")
    copies.take(copies.objects(OWNER)[1])

    # The aggregator opened each part at its arrival.
    for reply in (*federation.pull(sent), *exchange(federation, arrays)):
        assert_echo(reply, arrays)


def test_missing_request_part_is_an_error_before_the_app(federation: Federation, copies: Copies, ours: Copy) -> None:
    (busy,) = federation.push("echo_at_the_gate", OWNER)
    federation[OWNER].journal.wait_for_call(busy)
    sent = federation.push("echo", arrays=model(45_000))
    heartbeat = federation.names.heartbeat(OWNER)
    eventually(lambda: sent[0].encode() in copies.read(heartbeat), "the request to be held")
    # Each scan queues the complete requests.
    federation[OWNER].spy.wait_for_scans(2)
    copies[OWNER].withhold(copies.objects(AGGREGATOR)[1])
    federation[OWNER].journal.open_gate()

    failed, answered = federation.pull(sent)

    assert reason_of(failed).startswith(f"{OWNER}: integrity: objects of {AGGREGATOR} are missing")
    assert not answered.has_error()
    assert federation[OWNER].journal.calls_of(sent[0]) == []
    copies[OWNER].withhold()
    assert not federation.pull([busy])[0].has_error()
    arrays = model(45_000)
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


# Manifests that announce more bytes than exist

TERABYTE = 1 << 40


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Fail if the code in this context allocates more than LITTLE bytes at any time."""
    tracemalloc.start()
    try:
        yield
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < LITTLE


def refs(count: int, size: int) -> list[ObjectRef]:
    return [ObjectRef(id=f"{number:032x}", size=size, key="0" * 64) for number in range(count)]


def in_whole_objects(total: int) -> Manifest:
    count = total // MAX_OBJECT
    buffers = [BufferRef(size=MAX_OBJECT, pieces=[[number, 0, MAX_OBJECT]]) for number in range(count)]
    return Manifest(buffers=buffers, objects=refs(count, MAX_OBJECT))


def as_request(manifest: Manifest) -> Body:
    """Return the body of a request with this manifest and a run configuration. Its size stays within the limit."""
    config = config_to_buffer({})
    buffers = list(manifest.buffers)
    if sum(buffer.size for buffer in buffers) == MAX_MESSAGE:
        ((number, start, length),) = buffers[-1].pieces
        buffers[-1] = BufferRef(size=length - len(config), pieces=[[number, start, length - len(config)]])
    buffers.insert(PLACE, BufferRef(size=len(config)))
    return Body(manifest.model_copy(update={"buffers": buffers}), config)


def in_one_buffer(total: int) -> Manifest:
    buffer = BufferRef.model_construct(size=total, pieces=[[0, 0, total]])
    giant = ObjectRef.model_construct(id="0" * 32, size=total, key="0" * 64, sha256="")
    return Manifest.model_construct(buffers=[buffer], objects=[giant], error=None, seconds=None)


def in_crumbs(count: int) -> Manifest:
    """Return a manifest with one object in pieces of one byte, with one byte between two pieces."""
    buffer = BufferRef.model_construct(size=count, pieces=[[0, 2 * number, 1] for number in range(count)])
    return Manifest.model_construct(buffers=[buffer], objects=refs(1, 2 * count), error=None, seconds=None)


#: For each kind: the manifest, whether its objects exist as files of one byte, and the error.
ANNOUNCEMENTS: dict[str, tuple[Callable[[], Manifest], bool, str]] = {
    "a terabyte in thousands of objects": (
        lambda: in_whole_objects(TERABYTE),
        False,
        "invalid: the message announces more than",
    ),
    "a terabyte in one object": (
        lambda: in_one_buffer(TERABYTE),
        False,
        "invalid: the manifest does not have the form",
    ),
    "all that is allowed": (lambda: in_whole_objects(MAX_MESSAGE), True, "integrity: object 0"),
    "thousands of pieces": (lambda: in_crumbs(MAX_OBJECTS), True, "integrity: object 0"),
    "too many pieces": (lambda: in_crumbs(MAX_OBJECTS + 1), True, "invalid: the manifest does not have the form"),
}


@pytest.mark.parametrize("kind", ANNOUNCEMENTS)
def test_oversized_reply_manifest_takes_little_memory(tmp_path: Path, copies: Copies, kind: str) -> None:
    make, planted, text = ANNOUNCEMENTS[kind]
    with Federation(tmp_path / "homes", copies, client_app=APP) as federation:
        federation.introduce()
        federation.start(OTHER)
        arrays = model(45_000)
        sent = federation.push("echo", arrays=arrays)
        manifest = make()
        name, response = answer_to(federation, sent[0], manifest)
        for ref in manifest.objects if planted else ():
            copies.plant(federation.names.object(OWNER, ref.id), b"x")
        with little_memory():
            copies.plant(name, response)
            failed, answered = federation.pull(sent)

        assert reason_of(failed).startswith(f"{OWNER}: {text}")
        assert_echo(answered, arrays)
        federation[OWNER].start()
        for reply in exchange(federation, arrays):
            assert_echo(reply, arrays)


def answer_to(federation: Federation, message_id: str, manifest: Manifest) -> tuple[str, bytes]:
    """Return the name and the content of a reply with this manifest, as the data owner itself could make it."""
    request = federation.storage.read(federation.request_name(OWNER, message_id))
    forge = Forge(federation, OWNER, federation.grid.run.run_id)
    return forge.response(id=message_id, answers=hashlib.sha256(request).hexdigest(), body=Body(manifest, b""))


def test_absent_reply_parts_take_little_memory(tmp_path: Path, copies: Copies) -> None:
    with Federation(tmp_path / "homes", copies, client_app=APP) as federation:
        federation.introduce()
        federation.start(OTHER)
        arrays = model(45_000)
        sent = federation.push("echo", arrays=arrays)
        name, response = answer_to(federation, sent[0], in_whole_objects(MAX_MESSAGE))
        with little_memory():
            copies.plant(name, response)
            assert_echo(federation.pull(sent[1:])[0], arrays)
            federation.wait_until_received(1)
            # End the wait as a timeout does.
            federation.grid._caller.give_up(sent[:1], "no reply within the hour")
            (failed,) = federation.pull(sent[:1])
        assert reason_of(failed).startswith(
            f"{OWNER}: no-answer: no reply within the hour; 0 of 1024 objects of the reply "
        )
        federation[OWNER].start()


@pytest.mark.parametrize("kind", ANNOUNCEMENTS)
def test_oversized_request_manifest_gets_an_error(tmp_path: Path, copies: Copies, kind: str) -> None:
    make, planted, text = ANNOUNCEMENTS[kind]
    with Federation(tmp_path / "homes", copies, [OWNER], client_app=APP) as federation:
        federation.start()
        manifest = make()
        forge = Forge(federation, OWNER, federation.grid.run.run_id)
        name, request = forge.request(body=as_request(manifest))
        for ref in manifest.objects if planted else ():
            copies.plant(federation.names.object(AGGREGATOR, ref.id), b"x")
        with little_memory():
            copies.plant(name, request)
            error = forge.open_error(name)
        code, _, wrong = text.partition(": ")
        assert error.code == code
        # Only the text about an object leaves the data owner.
        assert error.text.startswith(wrong if code == "integrity" else told_by(MalformedError(wrong)))
        assert federation[OWNER].journal.calls == []
        arrays = model(45_000)
        assert_echo(exchange(federation, arrays)[0], arrays)


def test_reply_in_many_pieces_takes_little_memory(tmp_path: Path, copies: Copies) -> None:
    with Federation(tmp_path / "homes", copies, [OWNER], client_app=APP) as federation:
        federation.introduce()
        federation.begin_run()
        (message_id,) = federation.push("echo", arrays=model(45_000))
        folder = ObjectFolder(copies[OWNER], federation.names, OWNER, encryption=True)
        stored = folder.write([bytes(10_000)], run=1, readers=[AGGREGATOR], shared=False)
        # Use every second byte, so that pieces cannot be joined.
        pieces = [[index, offset, 1] for index, ref in enumerate(stored.objects) for offset in range(0, ref.size, 2)]
        manifest = Manifest(buffers=[BufferRef(size=len(pieces), pieces=pieces)], objects=stored.objects)
        name, response = answer_to(federation, message_id, manifest)
        with little_memory():
            copies.plant(name, response)
            (reply,) = federation.pull([message_id])
        # The pieces were read: the error is about their content.
        assert reason_of(reply) == f"{OWNER}: {NOT_A_MESSAGE}"
        federation[OWNER].start()
        folder.delete([ref.id for ref in stored.objects])


def test_terabyte_part_is_refused_unread(
    tmp_path: Path, folder: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_small_parts(monkeypatch)
    with Federation(tmp_path / "homes", folder, client_app=APP) as federation:
        federation.start()
        arrays = model(45_000)
        federation.spy.hidden = (".response",)
        sent = federation.push("echo", arrays=arrays)
        for email, message_id in zip(OWNERS, sent, strict=True):
            eventually(lambda e=email, i=message_id: folder.read(federation.response_name(e, i)), "a reply")
        part = next(name for name in folder.names() if name.startswith(OWNER) and name.endswith(".blob"))
        os.truncate(folder.path(part), TERABYTE)
        with little_memory():
            federation.spy.hidden = ()
            failed, answered = federation.pull(sent)
        assert f"has {TERABYTE} bytes instead of" in reason_of(failed)
        assert_echo(answered, arrays)
        for reply in exchange(federation, arrays):
            assert_echo(reply, arrays)
    assert leftovers(folder) == []


def leftovers(folder: FolderStorage) -> list[str]:
    names = [str(path) for path in folder.data_dir.rglob("*") if path.is_file()]
    return [
        name for name in names if name.endswith((".blob", ".request", ".response", ".tmp")) and "/status/" not in name
    ]


# Genuine replies with arrays that do not match their description

LIES = {
    "a terabyte": ("uint8", [1 << 20, 1 << 20], "uint8 of (1048576, 1048576)"),
    "other numbers": ("float32", [45_000], "float32 of (45000,)"),
    "another shape": ("uint8", [45, 1_000], "uint8 of (45, 1000)"),
    "nothing": ("uint8", [0], "uint8 of (0,)"),
}


def test_false_array_description_gives_one_error(federation: Federation, ours: Copy) -> None:
    arrays = model(45_000)
    for kind, (dtype, shape, announced) in LIES.items():
        messages = federation.messages("lie", OWNER, arrays=arrays, lie=ConfigRecord({"dtype": dtype, "shape": shape}))
        with little_memory():
            failed, answered = federation.grid.send_and_receive(
                [*messages, *federation.messages("echo", OTHER, arrays=arrays)], timeout=30
            )
        text = f"an array is uint8 of shape (45000,), and {announced} is announced"
        assert f"record 'arrays', key 'layer 0': the reader would refuse it: {text} (" in reason_of(failed), kind
        assert_echo(answered, arrays)


def test_pickled_objects_in_a_reply_give_one_error(federation: Federation, ours: Copy) -> None:
    arrays = model(45_000)
    failed, answered = federation.grid.send_and_receive(
        [*federation.messages("reply_with_objects", OWNER), *federation.messages("echo", OTHER, arrays=arrays)],
        timeout=30,
    )
    assert "key 'layer 0': the reader would refuse it: an array is not in numpy's format (" in reason_of(failed)
    assert_echo(answered, arrays)


# A full disk, at the aggregator


def test_full_disk_at_one_write_fails_one_message(federation: Federation, copies: Copies, ours: Copy) -> None:
    parts = len(part_sizes(45_000 + HEADER))
    for step in range(1, parts + 3):
        arrays = model(45_000)
        ours.count_from_now()
        ours.has_room = lambda number, step=step: number != step

        replies = exchange(federation, arrays)

        # The parts are written for the first message, then each request file.
        index = 1 if step == parts + 2 else 0
        reason = reason_of(replies[index])
        assert reason.startswith(f"{OWNERS[index]}: storage-full: no room left to write "), step
        assert replies[index].error.code == ErrorCode.MESSAGE_UNAVAILABLE
        assert_echo(replies[1 - index], arrays)
        for reply in exchange(federation, arrays):
            assert_echo(reply, arrays)
        assert len(copies.objects(AGGREGATOR)) == parts, step


def test_permanently_full_disk_leaves_no_file(federation: Federation, copies: Copies, ours: Copy) -> None:
    arrays = model(45_000)
    ours.has_room = lambda number: number <= 3
    for email, reply in zip(OWNERS, exchange(federation, arrays), strict=True):
        assert reason_of(reply).startswith(f"{email}: storage-full: no room left to write ")
    assert copies.objects() == []
    assert not any(copies.read(name) for name, _ in ours.written)
    ours.has_room = lambda _: True
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


def test_low_disk_space_is_an_error_before_any_write(federation: Federation, copies: Copies, ours: Copy) -> None:
    arrays = model(45_000)
    ours.free = 20 << 20
    text = "storage-full: 67 MB are needed to write this message, and 21 MB are free"
    for email, reply in zip(OWNERS, exchange(federation, arrays), strict=True):
        assert reason_of(reply) == f"{email}: {text}"
    assert ours.written == []
    # A message without objects is still sent.
    assert not exchange(federation, ArrayRecord(), behaviour="echo_nothing")[0].has_error()
    ours.free = None
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


@pytest.fixture
def small_folder(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStorage:
    """Return a SyftBox folder on a small disk. Writers meet no check of its room, as if it were filled during a write."""
    use_small_parts(monkeypatch)
    # Only writers: a reader sees the full disk, and keeps no second names of objects that their writer deletes.
    monkeypatch.setattr(ObjectFolder, "_require_room", lambda *_: None)
    return FolderStorage(small_disk / "SyftBox")


def test_disk_full_during_a_write_leaves_no_file(tmp_path: Path, small_folder: FolderStorage) -> None:
    with Federation(tmp_path / "homes", small_folder, client_app=APP) as federation:
        federation.start()
        fits, too_large = model(15_000, 15_000), model(150_000, 150_000)
        for email, reply in zip(OWNERS, exchange(federation, too_large), strict=True):
            assert reason_of(reply).startswith(f"{email}: storage-full: no room left to write {AGGREGATOR}/")
        # A heartbeat may be on its way at any moment.
        eventually(
            lambda: not [name for name in leftovers(small_folder) if not name.endswith((".request", ".response"))],
            "an end of all temporary files",
        )
        for reply in exchange(federation, fits):
            assert_echo(reply, fits)
    assert leftovers(small_folder) == []


def test_reply_too_large_for_the_disk_is_an_error(tmp_path: Path, small_folder: FolderStorage) -> None:
    with Federation(tmp_path / "homes", small_folder, [OWNER], client_app=APP) as federation:
        federation.start()
        fits, too_large = model(40_000), model(70_000, 70_000)
        (reply,) = exchange(federation, too_large)
        assert reason_of(reply).startswith(f"{OWNER}: storage-full: no room left on a disk")
        assert [name for name in leftovers(small_folder) if OWNER in name and name.endswith((".blob", ".tmp"))] == []
        assert_echo(exchange(federation, fits)[0], fits)
    assert leftovers(small_folder) == []


# A full disk, at a data owner


def test_owner_disk_full_once_fails_at_most_one_reply(federation: Federation, copies: Copies, ours: Copy) -> None:
    theirs, arrays = copies[OWNER], model(45_000)
    parts = len(part_sizes(45_000 + HEADER))
    for step in range(1, parts + 2):
        theirs.count_from_now()
        theirs.has_room = lambda number, step=step: number != step

        sent = federation.push("echo", arrays=arrays)
        first, second = federation.pull(sent)

        if step <= parts:
            reason = reason_of(first)
            assert reason.startswith(f"{OWNER}: storage-full: no room left on a disk"), step
            assert "(reference " in reason
        else:
            # The reply was committed and its parts exist, so only its envelope is written again.
            assert_echo(first, arrays)
        assert len(federation[OWNER].journal.calls_of(sent[0])) == 1, step
        assert_echo(second, arrays)
        copies.wait_until_empty(OWNER)


def test_owner_answers_when_its_disk_has_room_again(federation: Federation, copies: Copies, ours: Copy) -> None:
    theirs, arrays = copies[OWNER], model(45_000)
    theirs.has_room = lambda _: False
    sent = federation.push("echo", arrays=arrays)
    assert_echo(federation.pull(sent[1:])[0], arrays)
    federation[OWNER].journal.wait_for_call(sent[0])
    federation[OWNER].spy.wait_for_scans(3)
    assert not copies.objects(OWNER)
    assert not federation.grid.pull_messages(sent[:1])
    theirs.has_room = lambda _: True

    (failed,) = federation.pull(sent[:1])

    assert reason_of(failed).startswith(f"{OWNER}: storage-full: ")
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


def test_unsaved_state_leaves_no_reply_part(
    federation: Federation, copies: Copies, ours: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_nothing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    arrays = model(45_000)
    with monkeypatch.context() as patch:
        patch.setattr(app_runner, "write_in_folder", write_nothing)
        (failed,) = exchange(federation, arrays, OWNER, behaviour="fill_the_state")
    assert reason_of(failed).startswith(f"{OWNER}: storage-full: no room left on a disk")
    left = copies.objects(OWNER)
    for name in left:
        copies.take(name)
    assert_echo(exchange(federation, arrays, OWNER, behaviour="fill_the_state")[0], arrays)
    assert left == []


def test_owner_answers_when_its_ledger_has_room_again(
    federation: Federation, copies: Copies, ours: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, full, attempts = federation[OWNER].participant.home, threading.Event(), []
    transaction = Database.transaction

    @contextlib.contextmanager
    def on_a_full_disk(database: Database, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with transaction(database, durable=durable) as connection:
            changes = connection.total_changes
            yield connection
            if full.is_set() and connection.total_changes > changes and database._path.is_relative_to(home):
                attempts.append(database)
                raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Database, "transaction", on_a_full_disk)
    arrays = model(45_000)
    sent = federation.push("echo_at_the_gate", arrays=arrays)
    federation[OTHER].journal.open_gate()
    federation[OWNER].journal.wait_for_call(sent[0])
    full.set()
    federation[OWNER].journal.open_gate()
    eventually(lambda: len(attempts) > 2 or not federation[OWNER].is_running, "some attempts to record the reply")
    assert_echo(federation.pull(sent[1:])[0], arrays)
    full.clear()
    assert federation[OWNER].is_running
    assert_echo(federation.pull(sent[:1])[0], arrays)
