"""Shows that the client can end and replace a worker after its app forks a process and dies."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from flwr.app import Message, RecordDict

from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import decode
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr.fl_orchestrator.app_runner import RunnerSetup
from syft_flwr.fl_orchestrator.codec import message_to_buffers
from syft_flwr.fl_orchestrator.worker import WorkerSetup
from syft_flwr.fl_orchestrator.worker_process import WorkerProcess
from syft_flwr.flower import set_task_identity
from syft_flwr.names import AppNames
from syft_flwr.transport.syftbox import SyftBoxTransport

_DS, _DO = "ds@x.org", "do@y.org"
_APP = """
import os, signal, time
from flwr.app import Message
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def fork_and_die(message, context):
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with open({pids!r}, "w") as file:
        file.write(str(child))
    os.kill(os.getpid(), signal.SIGKILL)

@app.query("echo")
def echo(message, context):
    return Message(message.content, reply_to=message)
"""


def _header(kind: str, number: int) -> Header:
    now = datetime.now(UTC)
    return Header(
        id=f"{number:032x}",
        kind="request",
        run=7,
        app="fork",
        sender=_DS,
        recipient=_DO,
        sender_key="0" * 32,
        recipient_key="0" * 32,
        type=kind,
        group="",
        created=now,
        expires=now + timedelta(hours=1),
        encryption="mlkem768-x25519",
        body_size=1,
    )


@pytest.mark.timeout(60)
def test_forked_child_dies_with_its_killed_worker(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "forking.py").write_text(_APP.format(pids=str(pids)))
    transport = SyftBoxTransport(tmp_path / "box", _DO)
    runner = RunnerSetup(_DO, _DS, "fork", True, str(tmp_path / "contexts"), {}, {}, share_tracebacks=False)
    folder = str(tmp_path)
    setup = WorkerSetup(runner, transport.reopen(), "reference", "forking:app", folder, [folder])
    worker = WorkerProcess(setup, b"", RecordDict())
    try:
        mine = ObjectFolder(transport, AppNames("fork"), _DS, encryption=True)
        set_task_identity(7, 1)
        message = Message(RecordDict(), 5, "query")
        body = decode(make_body(message_to_buffers(message), mine, run=7, readers=[_DO]).encode())
        answer, _ = worker.run(_header("query", 1), body, "")
        assert answer.manifest.error is not None
        assert answer.manifest.error.code == "worker-died"
        child = int(pids.read_text())
        gone, alive = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
        assert alive == [], gone
        answer, _ = worker.run(_header("query.echo", 2), body, "")
        assert answer.manifest.error is None
    finally:
        worker.close()
        transport.close()
