"""Shows the resources of a run: bytes written, reads of files, file modes, ids, and no network connection."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from faultkit.federation import OWNERS, Federation, answer_of, question
from faultkit.storage import FolderStorage, MemoryStorage
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from waiting import eventually

from syft_flwr.fl_orchestrator import syftbox_flwr_server
from syft_flwr.fl_orchestrator.nodes import node_id_of

OWNER = OWNERS[0]


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory) as federation:
        yield federation


def test_run_opens_no_network_connection(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant needs only the folder, also to look up a key. So it can take part without a network."""
    tried: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> NoReturn:
        tried.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    federation.start()
    federation.assert_served()
    assert not tried


def test_model_is_written_once_without_overhead(federation: Federation, memory: MemoryStorage) -> None:
    federation.introduce()
    federation.begin_run()
    model = ArrayRecord({"weights": Array(np.random.default_rng(1).normal(size=250_000))})
    size = 8 * 250_000
    before = sum(len(memory.read(name)) for name in memory.names())
    ids = federation.grid.push_messages(federation.messages("answer_large", model=model))
    written = sum(len(memory.read(name)) for name in memory.names()) - before
    assert size < written < 1.01 * size + 20_000
    for email in OWNERS:
        federation[email].start()
    for reply in federation.pull(ids):
        assert answer_of(reply)


def test_repeated_scans_read_a_file_once(federation: Federation) -> None:
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate", OWNER)
    journal, spy = federation[OWNER].journal, federation[OWNER].spy
    journal.wait_for_call(message_id)
    spy.wait_for_scans(5)
    assert spy.finds[federation.request_name(OWNER, message_id)] == 1
    journal.open_gate()
    federation.wait_until_received(1)
    response = federation.response_name(OWNER, message_id)
    spy.wait_for_scans(5)
    assert federation.spy.finds[response] == 1
    assert answer_of(federation.pull([message_id])[0])


def test_other_local_users_cannot_access_our_files(tmp_path: Path, folder: FolderStorage) -> None:
    with Federation(tmp_path / "homes", folder) as federation:
        federation.start()
        federation.assert_served()
        modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.rglob("*")}
        writable = [path for path, mode in modes.items() if mode & 0o022]
        assert not writable
        private = {path: mode for path, mode in modes.items() if path.name.endswith((".key", ".db", ".state"))}
        assert {path.name for path in private} >= {"identity.key", "peers.db", "ledger.db", "futures.db"}
        assert not [path for path, mode in private.items() if mode & 0o077]


def test_each_run_has_its_own_id_and_state(federation: Federation) -> None:
    seen: list[tuple[int, int, list[Message]]] = []
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        asked = [Message(question("answer"), node, "query") for node in grid.get_node_ids()]
        seen.append((grid.run.run_id, context.run_id, list(grid.send_and_receive(asked, timeout=20))))

    for _ in range(2):
        for email in OWNERS:
            federation[email].start()
        syftbox_flwr_server(
            app, Context(0, 0, {}, RecordDict(), {}), OWNERS, federation.app, client=federation.participant
        )
        for email in OWNERS:
            federation[email].join()
    for of_grid, of_context, replies in seen:
        assert of_grid == of_context
        assert {reply.metadata.run_id for reply in replies} == {of_grid}
        assert [reply.metadata.src_node_id for reply in replies] == [node_id_of(email) for email in OWNERS]
        assert [answer_of(reply)["messages"] for reply in replies] == [1, 1]
    first, second = (run for run, _, _ in seen)
    assert first != second
    # The ids are random in 63 bits, so both are small in only one of 2**60 tests.
    assert max(first, second) > 1 << 32
    for email in OWNERS:
        calls = federation[email].journal.calls
        assert [(call["run"], call["context"], call["node"]) for call in calls] == [
            (run, run, node_id_of(email)) for run in (first, second)
        ]


def test_client_call_returns_when_the_run_stops(federation: Federation) -> None:
    """A notebook continues after the call, because it does not end the interpreter."""
    federation.start()
    federation.assert_served()
    federation.stop()
    assert [owner.error for owner in federation.owners.values()] == [None, None]
    eventually(lambda: not any(owner.is_running for owner in federation.owners.values()), "the end of all")
