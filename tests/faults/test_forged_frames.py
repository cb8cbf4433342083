"""A worker that writes something else than replies: an app can write to its connection, and a command can start any program.

The client refuses each of them, tells its owner, and uses no name or text of them.
"""

import json
import os
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from faultkit.lone_worker import lone_worker
from faultkit.relay import OWNER, Relay

from syft_flwr.fl_orchestrator.app_runner import AppReply
from syft_flwr.fl_orchestrator.worker_frames import Greeting
from syft_flwr.names import AppNames

#: A program in the place of a worker. It needs no package, so that it starts quickly. ``{written}`` are its bytes for each task.
_PROGRAM = """
import json, struct, sys, time
def receive():
    (size,) = struct.unpack(">Q", source.read(8))
    return source.read(size)
def send(data):
    sink.write(struct.pack(">Q", len(data)) + data)
    sink.flush()
source, sink = sys.stdin.buffer, sys.stdout.buffer
sink.write({greeting!r})
sink.flush()
receive()
for _ in range(int(receive())):
    receive()
send(b"{{}}")
while True:
    task = receive()
    if task == b"leave":
        break
    task = json.loads(task)
    receive()
    for kind, data in {written!r}:
        if kind == "done":
            data = {{"message": task["header"]["id"], **data}}
            send(json.dumps(data).encode())
        elif kind == "frame":
            send(data)
        elif kind == "bytes":
            sink.write(data)
            sink.flush()
        else:
            sys.exit(9)
"""
_NO_BUFFERS = b"\x00\x00\x00\x02{}"
_OTHER = "f" * 32
_STATE = "0000000000000007-{:032x}-00000000.state"


def body(**manifest: Any) -> tuple[str, bytes]:
    text = json.dumps(manifest).encode()
    return "frame", struct.pack(">I", len(text)) + text


def naming(object_id: str) -> tuple[str, bytes]:
    return body(objects=[{"id": object_id, "size": 1, "key": "0" * 64}])


GOOD = [("done", {}), ("frame", _NO_BUFFERS)]
FORGED: dict[str, list[tuple[str, Any]]] = {
    "the id of another message": [("done", {"message": _OTHER}), ("frame", _NO_BUFFERS)],
    "no id": [("done", {"message": ""}), ("frame", _NO_BUFFERS)],
    "a path as the state": [("done", {"context": "../../../identity.key"}), ("frame", _NO_BUFFERS)],
    "a full path as the state": [("done", {"context": "/etc/passwd"}), ("frame", _NO_BUFFERS)],
    "the state of another message": [("done", {"context": _STATE.format(9)}), ("frame", _NO_BUFFERS)],
    "a state with a line feed": [("done", {"context": _STATE.format(1) + "\n"}), ("frame", _NO_BUFFERS)],
    "an error of 1 MB": [("done", {"app_error": "x" * 1_000_000}), ("frame", _NO_BUFFERS)],
    "many records": [("done", {"records": ["x"] * 51}), ("frame", _NO_BUFFERS)],
    "a number as the round": [("done", {"server_round": 7}), ("frame", _NO_BUFFERS)],
    "a list as the metrics": [("done", {"metrics": [1]}), ("frame", _NO_BUFFERS)],
    "no JSON": [("frame", b"Welcome to this machine"), ("frame", _NO_BUFFERS)],
    "a list": [("frame", b"[]"), ("frame", _NO_BUFFERS)],
    "deep JSON": [("frame", b'{"message":' * 100_000), ("frame", _NO_BUFFERS)],
    "a frame of 4 GiB": [("bytes", struct.pack(">Q", 4 << 30))],
    "the longest frame": [("bytes", b"\xff" * 8)],
    "a body of 1 byte": [("done", {}), ("frame", b"\x00")],
    "a body with another form": [("done", {}), body(unknown=1)],
    "an object of another run": [("done", {}), naming("0" * 15 + "8" + "8" * 16)],
    "an object of a request": [("done", {}), naming("0" * 15 + "7" + "0" * 16)],
}


def program(folder: Path, written: list[tuple[str, Any]]) -> str:
    """Write the program, and return the command that starts it."""
    path = folder / "program.py"
    path.write_text(_PROGRAM.format(greeting=Greeting.own().encode(), written=written))
    return f"{sys.executable} -I {path}"


@pytest.mark.parametrize("kind", FORGED)
def test_forged_reply_of_a_worker_is_refused(tmp_path: Path, kind: str, logged: list[str]) -> None:
    with lone_worker(tmp_path, command=program(tmp_path, FORGED[kind])) as lone:
        reply = lone.run()

    error = reply.body.manifest.error
    assert error
    text = "the ClientApp's process ended in the middle of the message (it wrote something else than a reply to its connection)"
    assert (error.code, error.text, reply.context) == ("worker-died", text, "")
    assert (reply.records, reply.app_error) == ((), "")
    assert any("something else than a reply to message" in line and line.isprintable() for line in logged)
    assert max(map(len, logged)) < 1_000


def test_second_reply_to_a_message_is_not_that_to_the_next(tmp_path: Path, logged: list[str]) -> None:
    with lone_worker(tmp_path, command=program(tmp_path, [*GOOD, *GOOD])) as lone:
        assert lone.run().body.manifest.error is None
        # A worker that has served before gets a second try, in a new process.
        assert lone.run().body.manifest.error is None
    assert [line for line in logged if line.startswith("ERROR")] == [
        f"ERROR the worker wrote something else than a reply to message {2:032x}, and is ended: the worker answered another message"
    ]


def test_worker_that_ends_within_a_frame_is_worker_died(tmp_path: Path) -> None:
    written = [("bytes", struct.pack(">Q", 100) + b"{"), ("exit", b"")]
    with lone_worker(tmp_path, command=program(tmp_path, written)) as lone:
        assert (
            lone.error("echo")
            == "worker-died: the ClientApp's process ended in the middle of the message (exit status 9)"
        )


def test_metrics_of_a_worker_are_bounded(tmp_path: Path) -> None:
    hostile = {"x" * 10_000: 1, "\u202ea": 2, "text": "=cmd()", "deep": {"a": 1}, "long": [0.0] * 101, "bad": None}
    metrics = hostile | {f"m{number}": number for number in range(10_000)}
    written = [("done", {"metrics": metrics}), ("frame", _NO_BUFFERS)]
    with lone_worker(tmp_path, command=program(tmp_path, written)) as lone:
        reply = lone.run()

    assert reply.metrics == {r"\u202ea": 2, **{f"m{number}": number for number in range(99)}}


def test_texts_of_a_worker_are_escaped(tmp_path: Path) -> None:
    facts = {"app_error": "\x1b]52;c;eA==\x07", "server_round": "\u202e1", "records": ["a\nb"]}
    state = {"context": _STATE.format(1)}
    written = [("done", {**facts, **state}), ("frame", _NO_BUFFERS)]
    with lone_worker(tmp_path, command=program(tmp_path, written)) as lone:
        reply = lone.run()

    assert reply.context == _STATE.format(1)
    assert (reply.app_error, reply.server_round, reply.records) == ("\\x1b]52;c;eA==\\x07", "\\u202e1", ("a b",))


def swap_for_link(path: Path, secret: Path) -> None:
    path.unlink()
    path.symlink_to(secret)


def swap_folder_for_link(path: Path, secret: Path) -> None:
    folder = path.parent
    folder.rename(secret.parent / "moved")
    (secret.parent / path.name).write_bytes(secret.read_bytes())
    folder.symlink_to(secret.parent, target_is_directory=True)


def swap_for_pipe(path: Path, secret: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_for_folder(path: Path, secret: Path) -> None:
    path.unlink()
    path.mkdir()


def extend(path: Path, secret: Path) -> None:
    os.truncate(path, 64 << 30)


@pytest.mark.parametrize("spoil", [swap_for_link, swap_folder_for_link, swap_for_pipe, swap_for_folder, extend])
def test_relayed_object_that_is_no_file_of_its_size_is_refused(
    tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    secret = tmp_path / "outside" / "identity.key"
    secret.parent.mkdir()
    secret.write_bytes(b"private" * 100)
    with closing(Relay(tmp_path)) as relay:
        run = relay.worker._worker.run

        def spoiled(*arguments: Any) -> AppReply:
            reply = run(*arguments)
            (object_id,) = reply.body.manifest.object_ids
            spoil(tmp_path / "near" / "datasites" / AppNames("relay").object(OWNER, object_id), secret)
            return reply

        relay.worker._worker.run = spoiled  # type: ignore[method-assign]
        reply = relay.run()

        assert reply.body.manifest.error
        assert not [name for name in relay.transport._network.files if name.startswith(f"{OWNER}/")]
    # The folder is emptied, and nothing outside it.
    assert list((tmp_path / "near" / "datasites").iterdir()) == []
    assert secret.read_bytes() == b"private" * 100
