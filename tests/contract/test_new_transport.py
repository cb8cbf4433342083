"""A transport outside the package: it is opened by its name, keeps the contract, and carries a federation."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import cycle
from pathlib import Path

import hashed_folder
import pytest
from broken_folder import break_folder
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from hashed_folder import HashedFolder
from waiting import PATIENCE

from syft_flwr.config import TRANSPORTS, TransportRow, load_settings
from syft_flwr.config.search import FIELDS, Field
from syft_flwr.config.values import parse_path
from syft_flwr.fl_orchestrator import Participant, open_participant, syftbox_flwr_client, syftbox_flwr_server
from syft_flwr.fl_orchestrator.nodes import node_id_of
from syft_flwr.testing.contract_storage import can_read
from syft_flwr.testing.transport_contract import *  # noqa: F403
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import open_transport

AGGREGATOR, OWNERS = "ds@x.org", ("do1@y.org", "do2@z.org")
APP = """
import os
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def answer(message, context):
    asked = message.content["ask"]["number"]
    return Message(RecordDict({"answer": ConfigRecord({"number": 2 * asked, "process": os.getpid()})}), reply_to=message)
"""


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the transport and its setting to the tables; the package needs nothing else."""
    row = TransportRow("A hashed folder", "hashed_folder:open_hashed_folder", required=("hashed_dir",))
    monkeypatch.setitem(TRANSPORTS, "hashed", row)
    monkeypatch.setitem(FIELDS, "hashed_dir", Field(parse_path, "HASHED_DIR"))


#: First lines that are invalid, or that belong to another file.
GARBAGE = [
    b"garbage",
    b"[]\n",
    b"\xff\n",
    b"[" * 100_000,
    b'{"name": 1, "readers": 2}\n',
    b'{"name": "a/b", "readers": []}\n',
]


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


class HashedStorage:
    pushes_events = False
    peers_delete = True
    hides_files = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spoilers = cycle([*(partial(_write, content) for content in GARBAGE), Path.mkdir, os.mkfifo])
        environ = {"SYFT_FLWR_TRANSPORT": "hashed", "HASHED_DIR": str(folder)}
        self._ends = {
            email: open_transport(load_settings(environ=environ, email=email, home=folder), peers=[], live=True)
            for email in (DS, DO, OTHER)  # noqa: F405 - of the contract
        }

    def end(self, email: str) -> Transport:
        return self._ends[email]

    def may_read(self, email: str, name: str) -> bool:
        return can_read(self._ends[email], name)

    def may_write(self, email: str, name: str) -> bool:
        end = self._ends[email]
        assert isinstance(end, HashedFolder)
        return end.may_write(name)

    def set_aside(self, email: str, name: str) -> None:
        self._ends[email].put(name, b"set aside", readers=[])

    def foreign(self, name: str, data: bytes) -> None:
        self._path(name).write_bytes(json.dumps({"name": name, "readers": ["*"]}).encode() + b"\n" + data)

    def spoil(self, name: str) -> None:
        next(self._spoilers)(self._path(name))

    def break_down(self) -> None:
        break_folder(self._folder)

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> HashedStorage:
    return HashedStorage(tmp_path / "hashed")


# A federation over the new transport


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[tool.syft_flwr]\ntransport = "hashed"\n')
    (folder / "asked_app.py").write_text(APP)
    return folder


@pytest.fixture
def participants(project: Path, tmp_path: Path) -> Iterator[dict[str, Participant]]:
    """Open a participant for each email from its settings."""
    environ = {"HASHED_DIR": str(tmp_path / "hashed"), "SYFT_FLWR_POLL_INTERVAL": "0.05"}
    with ExitStack() as stack:
        opened = {}
        for email in (AGGREGATOR, *OWNERS):
            settings = load_settings(project, environ=environ, email=email, home=tmp_path / "homes")
            opened[email] = open_participant(settings, peers=OWNERS if email == AGGREGATOR else [AGGREGATOR])
            stack.enter_context(closing(opened[email].transport))
        yield opened


def context() -> Context:
    return Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})


@pytest.mark.timeout(120)
def test_apps_over_a_new_transport_run_in_workers(
    project: Path, participants: dict[str, Participant], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker imports the module of the transport, which is an installed package in real use.
    monkeypatch.setenv("PYTHONPATH", str(Path(hashed_folder.__file__).parent))
    answers: list[dict[str, object]] = []
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        content = RecordDict({"ask": ConfigRecord({"number": 21})})
        asked = [Message(content, node_id_of(email), "query") for email in OWNERS]
        replies = grid.send_and_receive(asked, timeout=PATIENCE * 2)
        answers.extend(dict(reply.content["answer"]) for reply in replies)

    def serve(email: str) -> None:
        client = participants[email]
        syftbox_flwr_client("asked_app:app", context(), "asked", project, client=client, aggregator=AGGREGATOR)

    owners = [threading.Thread(target=serve, args=(email,)) for email in OWNERS]
    for owner in owners:
        owner.start()
    try:
        syftbox_flwr_server(
            server_app, context(), OWNERS, "asked", client=participants[AGGREGATOR], raise_on_error=True
        )
    finally:
        for owner in owners:
            owner.join(PATIENCE)

    assert [answer["number"] for answer in answers] == [42, 42]
    processes = {answer["process"] for answer in answers}
    assert len(processes) == len(OWNERS)
    assert os.getpid() not in processes
